# Names where there are none, none where there must be one, and names that cannot be.
kvs "main" {}
engine {
  path = "/bin/true"
}
engine "Wa Zero" {}
store "a" "b" {}
