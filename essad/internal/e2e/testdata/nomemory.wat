;; Sets a result, and has no exported memory to take it from.
(module
  (import "host" "essa_set_result" (func $set (param i32 i32) (result i32)))
  (memory 1)
  (func (export "_initialize"))
  (func (export "essa_main") (drop (call $set (i32.const 8) (i32.const 4)))))
