# The hub for clients, and the one that the others know.
#
#     essad --config examples/cluster/four-processes/tls/routing.hcl
#     essad --address tls/127.0.0.1:7447 ping

node {
  name        = "routing"
  data_dir    = "routing/data"
  runtime_dir = "routing/run"
}

fabric {
  listen = ["tls/127.0.0.1:7447"]

  tls {
    certificate = "certificates/routing.pem" # examples/cluster/certificates.sh makes them
    key         = "certificates/routing.key"
    ca          = "certificates/ca.pem"
  }
}

routing {}
