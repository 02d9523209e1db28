# A daemon without a role has nothing to do.
node {
  name = "lonely"
}
