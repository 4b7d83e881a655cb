// With a file in assembler the compiler takes functions without a body, as those of wait_linux.go are.
