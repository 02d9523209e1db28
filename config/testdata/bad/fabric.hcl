# Values of the fabric that do not go together.
node {
  socket = "/run/essad/essad.sock"
}

fabric {
  listen         = ["tls/0.0.0.0:7447", "unixsock-stream//run/essad/essad.sock"]
  listen_clients = ["tls/0.0.0.0:7447", "tcp/127.0.0.1:7448"]
  implementation = "zenohc"
  password_file  = "password"
  admin          = "authenticated"
  max_message    = "8MiB"

  retry {
    first = "3s"
  }

  tls {
    key = "node.key"
    mutual = false
  }
}

kvs {
  max_value = "8MiB"
}
