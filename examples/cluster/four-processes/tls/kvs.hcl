# The key-value store.
#
#     essad --config examples/cluster/four-processes/tls/kvs.hcl

node {
  name        = "kvs"
  data_dir    = "kvs/data"
  runtime_dir = "kvs/run"
}

fabric {
  listen  = ["tls/127.0.0.1:0"] # a free port, which the others hear of
  connect = ["tls/127.0.0.1:7447"]

  tls {
    certificate = "certificates/kvs.pem" # examples/cluster/certificates.sh makes them
    key         = "certificates/kvs.key"
    ca          = "certificates/ca.pem"
  }
}

kvs {
  store = "pebble" # acknowledged writes are on disk
}

store "pebble" {}
