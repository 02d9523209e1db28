# One of the daemons of a cluster that spans sites, or has hundreds of nodes: each is a client of a network of Zenoh routers,
# which relay between them. Clients of the cluster are clients of any router of that network.
#
#     essad --config a.hcl
#     essad --address tcp/zenoh.example.org:7447 call shop total

node {
  name = "a"
}

fabric {
  mode    = "client"
  connect = ["tcp/zenoh.example.org:7447"]
}

routing {}

kvs {
  store = "pebble"
}

scheduler {}

store "pebble" {}
