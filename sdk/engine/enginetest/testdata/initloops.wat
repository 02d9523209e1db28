;; Loops while it is initialised.
(module
  (func (export "_initialize") (loop (br 0)))
  (func (export "f") (param i32))
  (memory (export "memory") 1))
