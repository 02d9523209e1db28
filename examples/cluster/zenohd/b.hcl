# One of the daemons of a cluster that spans sites, or has hundreds of nodes: each is a client of a network of Zenoh routers,
# which relay between them. Clients of the cluster are clients of any router of that network.
#
#     essad --config b.hcl
#     essad --address tcp/zenoh.example.org:7447 call shop total

node {
  name = "b"
}

fabric {
  mode    = "client"
  connect = ["tcp/zenoh.example.org:7447"]
}

executor {}

engine "wazero" {}
