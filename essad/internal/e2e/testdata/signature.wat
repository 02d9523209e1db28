;; Its exports have the names of functions and of a main, and other types.
(module
  (memory (export "memory") 1)
  (func (export "_initialize"))
  (func (export "__essa_wrapper__two") (param i32 i32))
  (func (export "__essa_wrapper__float") (param f64) (result f64) (local.get 0))
  (func (export "essa_main") (param i32) (result i32) (local.get 0)))
