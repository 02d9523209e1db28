# The second of three machines: runs functions, and is a second door for clients. Here they are 10.0.0.1 to 10.0.0.3.
#
#     essad --config node2.hcl

node {
  name = "node2"
}

fabric {
  listen  = ["tls/10.0.0.2:7447"]
  connect = ["tls/10.0.0.1:7447", "tls/10.0.0.3:7447"]
  tls {
    certificate = "/etc/essad/node2.pem" # certificates.sh makes them
    key         = "/etc/essad/node2.key"
    ca          = "/etc/essad/ca.pem"
  }
}

routing {}

scheduler {}

executor {}

engine "wazero" {}
