// Package guests has the tests that run the example guests on whole hosts: the probe with the eight imports of upstream
// alone, and all of them on the engine plugin as the daemon would start it. It has no code besides, and nothing imports it.
package guests
