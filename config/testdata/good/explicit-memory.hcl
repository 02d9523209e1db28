# An empty name means memory only, although there is a store.
kvs {
  store = ""
}
store "pebble" {}
