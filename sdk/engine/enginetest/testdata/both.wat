;; It is not clear what to run.
(module (func (export "_start")) (func (export "")) (memory (export "memory") 1))
