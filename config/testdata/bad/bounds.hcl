# Values beyond their bounds.
node {
  name             = "Not A Name"
  shutdown_timeout = "10ms"
  socket_mode      = "1777"
}

log {
  level = "inof"
  format = "xml"
}

metrics {
  listen = "localhost"
}

kvs {
  shards     = 5000
  max_key    = "1MiB"
  durability = "synk"
}

engine "wazero" {
  sha256 = "abc"
}
