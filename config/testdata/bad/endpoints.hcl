# Endpoints that are none.
fabric {
  listen = ["tcp/:7447", "tcp/0.0.0.0:7447"]
  tls {
    certificate = "node.pem"
  }
}
routing {}
