# The third of three machines: runs functions. Here they are 10.0.0.1 to 10.0.0.3.
#
#     essad --config node3.hcl

node {
  name = "node3"
}

fabric {
  listen  = ["tls/10.0.0.3:7447"]
  connect = ["tls/10.0.0.1:7447", "tls/10.0.0.2:7447"]
  tls {
    certificate = "/etc/essad/node3.pem" # certificates.sh makes them
    key         = "/etc/essad/node3.key"
    ca          = "/etc/essad/ca.pem"
  }
}

scheduler {}

executor {}

engine "wazero" {}
