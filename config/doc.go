// Package config is the shape of edged.toml as a whole. It gathers the Config of every package under its section's name,
// reads a file into them, and says what is wrong with the file in the words of somebody who has to repair it: file, line,
// key, reason, all problems at once. It knows no behaviour, and no package below it imports it.
//
// A file is read in four steps. The TOML library turns the text into maps; place notes the line of every key, which the
// library does not tell for keys that it accepts; reader moves the maps into the structs, so that each wrong key or type
// is a problem and none hides the next; check asks each section, and then what only the whole file can answer.
package config
