;; Has nothing to run, and its one function does nothing.
(module (func (export "f") (param i32)) (memory (export "memory") 1))
