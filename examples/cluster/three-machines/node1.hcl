# The first of three machines: the store, and a door for clients. Here they are 10.0.0.1 to 10.0.0.3.
#
#     essad --config node1.hcl

node {
  name = "node1"
}

fabric {
  listen  = ["tls/10.0.0.1:7447"]
  connect = ["tls/10.0.0.2:7447", "tls/10.0.0.3:7447"]
  tls {
    certificate = "/etc/essad/node1.pem" # certificates.sh makes them
    key         = "/etc/essad/node1.key"
    ca          = "/etc/essad/ca.pem"
  }
}

routing {}

kvs {
  store = "pebble"
}

scheduler {}

store "pebble" {}
