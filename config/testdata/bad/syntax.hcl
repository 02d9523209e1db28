# A string that does not end.
kvs {
  store = "pebble
}
