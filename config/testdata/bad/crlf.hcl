kvs {
  memory = "big"
}
