# One of three machines: mutual TLS in the mesh, clients with passwords.
fabric {
  listen     = ["tls/10.0.0.1:7447"]
  connect    = ["tls/10.0.0.2:7447", "tls/10.0.0.3:7447"]
  listen_clients = ["tcp/10.0.0.1:7448"]

  user       = "mesh"
  users_file = "/etc/essad/users"
  admin      = "authenticated"
  lease      = "1500ms"

  password_file = "/etc/essad/password"

  retry {
    max = "10s"
  }

  tls {
    certificate = "/etc/essad/node.pem"
    key         = "/etc/essad/node.key"
    ca          = "/etc/essad/ca.pem"
  }

  scouting {
    multicast = true
  }
}

routing {}
