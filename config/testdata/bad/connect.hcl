# A list reports its first mistake; these come from a file, the environment and a flag.
# set fabric.listen=tcp/0.0.0.0:7447,tcp/0.0.0.0:7447
# env ESSA_FABRIC__CONNECT=10.0.0.1:7447
fabric {
  connect = ["tpc/10.0.0.1:7447"]
  listen  = ["quic/0.0.0.0:7447"]
  mode    = "peer"
  lease   = "100ms"
  users   = "users"
}
routing {}
