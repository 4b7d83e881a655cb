package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

const (
	mit    = "Permission is hereby granted, free of charge, to any person obtaining a copy\nof this software"
	bsd    = "Redistribution and use in source and\nbinary forms"
	apache = "Apache License\n  Version 2.0, January 2004\nTERMS AND CONDITIONS FOR USE, REPRODUCTION"
)

func TestIdentify(t *testing.T) {
	for want, content := range map[string]string{
		"MIT": "Copyright X\n" + mit, "BSD-2-Clause": bsd, "BSD-3-Clause": bsd + " Neither the\n name of X",
		"Apache-2.0": apache, "ISC": "Permission to use, copy, modify, and/or distribute this software for any purpose", "": "GNU GENERAL PUBLIC LICENSE",
	} {
		if got := identify(content); got != want {
			t.Errorf("identify(%q) = %q, want %q", content, got, want)
		}
	}
}

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestLicenceOf(t *testing.T) {
	dir := t.TempDir()
	if _, _, err := licenceOf(dir); err == nil {
		t.Error("no licence: want an error")
	}
	write(t, dir, "LICENSE.txt", mit)
	write(t, dir, "NOTICE", "made by X")
	write(t, dir, "PATENTS", "granted")
	write(t, dir, "notices.go", "package x")
	id, texts, err := licenceOf(dir)
	if err != nil || id != "MIT" || len(texts) != 3 {
		t.Errorf("licenceOf = %q, %d texts, %v; want MIT and 3", id, len(texts), err)
	}
	write(t, dir, "COPYING", "all rights reserved")
	if _, _, err = licenceOf(dir); err == nil || !strings.Contains(err.Error(), "COPYING") {
		t.Errorf("an unknown licence: error %v, want one that names COPYING", err)
	}
}

func TestEscaped(t *testing.T) {
	if got := escaped("github.com/BurntSushi/toml"); got != "github.com/!burnt!sushi/toml" {
		t.Errorf("escaped = %q", got)
	}
}

func TestThirdParty(t *testing.T) {
	shared := []text{{"LICENSE", mit + "\n"}}
	b := &binary{name: "x", version: "1", parts: []part{
		{path: "std", version: "1.26", licence: "BSD-3-Clause", texts: []text{{"LICENSE", bsd + "\n"}}},
		{path: "a.b/c", version: "v1", licence: "MIT", texts: shared}, {path: "a.b/d", version: "v2", licence: "MIT", texts: shared},
	}}
	got := string(b.thirdParty())
	for _, want := range []string{"  a.b/c v1: MIT\n", "a.b/c, LICENSE\na.b/d, LICENSE\n\nPermission", "Go and its standard library 1.26"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if n := strings.Count(got, "Permission is hereby"); n != 1 {
		t.Errorf("a text that two parts share stands there %d times", n)
	}
}

// TestRun bills this test's own kind of binary: one that imports nothing but Go's library.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "go.mod", "module example.org/x\n\ngo 1.26.0\n")
	write(t, dir, "main.go", "package main\n\nfunc main() {}\n")
	write(t, dir, "LICENSE", apache)
	build := exec.Command("go", "build", "-o", "x", ".")
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	o := options{
		binary: filepath.Join(dir, "x"), version: "1.2.3", own: dir, goroot: strings.TrimSpace(string(goroot)), time: 86400,
		sbom: filepath.Join(dir, "sbom.json"), licences: filepath.Join(dir, "licences"),
	}
	if err := run(o); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(o.sbom)
	if err != nil {
		t.Fatal(err)
	}
	var d document
	if err := json.Unmarshal(content, &d); err != nil {
		t.Fatal(err)
	}
	if want := "x-1.2.3-linux-" + runtime.GOARCH; d.Name != want {
		t.Errorf("name %q, want %q", d.Name, want)
	}
	if want := time.Unix(86400, 0).UTC().Format(time.RFC3339); d.Creation.Created != want {
		t.Errorf("created %q, want %q", d.Creation.Created, want)
	}
	if len(d.Packages) != 2 || d.Packages[0].Declared != "Apache-2.0" || d.Packages[1].Name != "std" || len(d.Packages[0].Checksums) != 1 {
		t.Errorf("packages %+v", d.Packages)
	}
	if len(d.Relationships) != 2 || d.Relationships[1] != (relationship{binaryID, "STATIC_LINK", "SPDXRef-std"}) {
		t.Errorf("relationships %+v", d.Relationships)
	}
}
