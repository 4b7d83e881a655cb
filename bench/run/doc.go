// Command run is the benchmark that `make bench` starts: what a message, an accept and an idle link cost, each beside the C
// floor of the same minute. bench/README.md tells what the rows mean and how to read them.
//
// It builds the programs under test into a temporary directory, moves into a network namespace of its own where it may,
// and measures row by row, round by round. Everything is started and waited for by the one goroutine that main locked to
// its thread: the thread carries the namespace and the CPU affinity that the programs inherit, and the kernel ends them
// when that thread ends, however that comes about.
package main
