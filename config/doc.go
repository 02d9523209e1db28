// Package config is the configuration of essad: one schema for all roles, and everything that comes of it.
//
// A key is one field of one struct in schema.go, with its name, default, doc and check. From that field come the loading
// of HCL and YAML files, environment and flags, every diagnostic, `essad config print`, the reference and the man page.
// A value's way: Load reads the layers (defaults < files in name order < environment < flags), checks each of them on its
// own, so that a mistake is reported even where a later layer hides it, lets koanf merge them, derives the defaults that
// depend on other keys, and validates the whole. All mistakes come back at once as Diagnostics, each with file, line and
// column, the line itself, and what to do.
//
// It promises: Load never panics, whatever the bytes; no returned Config violates a check; what Print writes can be loaded
// again and means the same.
//
// The agent and the command line may import it. It imports koanf, hcl, cty, mapstructure, yaml and pflag, and nothing
// of this repository: the agent copies values into the Options of each role, so a role never sees this package.
package config
