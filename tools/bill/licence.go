package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// passedOn are the names of files that a licence may ask to be passed on.
var passedOn = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|patents)([-.].*)?$`)

// licenceOf returns the licence of the sources in dir, and all that is to be passed on with what is made of them.
func licenceOf(dir string) (id string, texts []text, err error) {
	entries, err := os.ReadDir(dir) // in the order of their names
	if err != nil {
		return "", nil, err
	}
	var ids []string
	for _, e := range entries {
		if !e.Type().IsRegular() || !passedOn.MatchString(e.Name()) {
			continue
		}
		content, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return "", nil, err
		}
		texts = append(texts, text{e.Name(), strings.TrimSpace(strings.ReplaceAll(string(content), "\r", "")) + "\n"})
		if lower := strings.ToLower(e.Name()); strings.HasPrefix(lower, "notice") || strings.HasPrefix(lower, "patents") {
			continue
		}
		found := identify(string(content))
		if found == "" {
			return "", nil, fmt.Errorf("%s: a licence that is not known here; look at it, and add it to identify if edged may use it", e.Name())
		}
		ids = append(ids, found)
	}
	if len(ids) == 0 {
		return "", nil, errors.New("no licence")
	}
	return strings.Join(ids, " AND "), texts, nil
}

// identify returns the SPDX name of a licence's text; it is empty for one that edged does not use.
func identify(content string) string {
	content = strings.Join(strings.Fields(content), " ")
	has := func(s string) bool { return strings.Contains(content, s) }
	switch {
	case has("Apache License Version 2.0") && has("TERMS AND CONDITIONS FOR USE"):
		return "Apache-2.0"
	case has("Permission is hereby granted, free of charge, to any person obtaining a copy"):
		return "MIT"
	case has("Permission to use, copy, modify, and/or distribute this software for any purpose"):
		return "ISC"
	case has("Redistribution and use in source and binary forms") && (has("Neither the name") || has("may not be used to endorse")):
		return "BSD-3-Clause"
	case has("Redistribution and use in source and binary forms"):
		return "BSD-2-Clause"
	}
	return ""
}

// thirdParty is the text with all licences of the parts, each text once.
func (b *binary) thirdParty() []byte {
	var s strings.Builder
	fmt.Fprintf(&s, "%s %s is made of the following beside its own sources. Each part is listed with its licence;\nthe texts follow.\n\n", b.name, b.version)
	var order []string
	users := map[string][]string{} // of a text
	for _, p := range b.parts {
		name := p.path
		if name == "std" {
			name = "Go and its standard library"
		}
		fmt.Fprintf(&s, "  %s %s: %s\n", name, p.version, p.licence)
		for _, t := range p.texts {
			if users[t.content] == nil {
				order = append(order, t.content)
			}
			users[t.content] = append(users[t.content], name+", "+t.name)
		}
	}
	for _, content := range order {
		fmt.Fprintf(&s, "\n%s\n%s\n\n%s", strings.Repeat("-", 80), strings.Join(users[content], "\n"), content)
	}
	return []byte(s.String())
}
