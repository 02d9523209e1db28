;; Imports what there is not, and what there is with another type.
(module
  (import "env" "missing" (func))
  (import "host" "essa_get_args" (func (param i64) (result i32)))
  (memory (export "memory") 1)
  (func (export "essa_main")))
