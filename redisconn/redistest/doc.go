// Package redistest runs real Redis servers for tests: one alone, a Cluster, or a master with a replica and three sentinels.
//
// They listen on loopback, keep their files in the test's temporary directory, and end with the test, also when the test
// process is killed. The server comes from PATH or from .tools/redis in the project, where tools/redis puts one; without it the
// test fails.
package redistest
