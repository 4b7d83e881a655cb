//go:build !edgedfault

package main

// fault is where a binary for tests goes wrong on purpose (fault_tagged.go); this one does not.
func fault(string) error { return nil }
