# The key-value store.
#
#     essad --config examples/cluster/four-processes/unix/kvs.hcl

node {
  name        = "kvs"
  data_dir    = "kvs/data"
  runtime_dir = "kvs/run"
}

fabric {
  listen  = ["unixsock-stream//run/essad/mesh-kvs.sock"]
  connect = ["unixsock-stream//run/essad/mesh-routing.sock"]
}

kvs {
  store = "pebble" # acknowledged writes are on disk
}

store "pebble" {}
