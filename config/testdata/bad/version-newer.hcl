# A file of a later essad.
version = 7
kvs {
  a_key_of_the_future = true
}
