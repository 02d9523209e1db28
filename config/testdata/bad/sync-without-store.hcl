# A write cannot be on disk where there is no store.
kvs {
  durability = "sync"
}
