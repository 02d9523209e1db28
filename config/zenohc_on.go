//go:build zenohc

package config

// zenohcBuilt tells whether this program can use libzenohc.
const zenohcBuilt = true
