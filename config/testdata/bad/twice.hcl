# The same thing twice in one file.
kvs {
  store = ""
}
kvs {
  memory = "1GiB"
}
engine "wazero" {}
engine "wazero" {}
log = { level = "info" }
log {}
version = 1
version = 1
