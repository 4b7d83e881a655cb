package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"time"
)

// The parts of SPDX 2.3 that are needed, with its names.
type (
	document struct {
		Version       string         `json:"spdxVersion"`
		DataLicense   string         `json:"dataLicense"`
		ID            string         `json:"SPDXID"`
		Name          string         `json:"name"`
		Namespace     string         `json:"documentNamespace"`
		Creation      creation       `json:"creationInfo"`
		Packages      []spdxPackage  `json:"packages"`
		Relationships []relationship `json:"relationships"`
	}
	creation struct {
		Created  string   `json:"created"`
		Creators []string `json:"creators"`
	}
	spdxPackage struct {
		ID            string     `json:"SPDXID"`
		Name          string     `json:"name"`
		Version       string     `json:"versionInfo"`
		Purpose       string     `json:"primaryPackagePurpose"`
		Download      string     `json:"downloadLocation"`
		FilesAnalyzed bool       `json:"filesAnalyzed"`
		Checksums     []checksum `json:"checksums,omitempty"`
		SourceInfo    string     `json:"sourceInfo,omitempty"`
		Concluded     string     `json:"licenseConcluded"`
		Declared      string     `json:"licenseDeclared"`
		Copyright     string     `json:"copyrightText"`
		References    []external `json:"externalRefs,omitempty"`
	}
	checksum struct {
		Algorithm string `json:"algorithm"`
		Value     string `json:"checksumValue"`
	}
	external struct {
		Category string `json:"referenceCategory"`
		Type     string `json:"referenceType"`
		Locator  string `json:"referenceLocator"`
	}
	relationship struct {
		From string `json:"spdxElementId"`
		Kind string `json:"relationshipType"`
		To   string `json:"relatedSpdxElement"`
	}
)

const (
	documentID = "SPDXRef-DOCUMENT"
	binaryID   = "SPDXRef-binary"
	noClaim    = "NOASSERTION"
)

// unfit are the characters that an SPDX name may not have.
var unfit = regexp.MustCompile(`[^A-Za-z0-9.-]`)

// spdx is the document. Nothing in it depends on where or when it is written: its name is made of the binary's checksum.
func (b *binary) spdx() ([]byte, error) {
	d := document{
		Version: "SPDX-2.3", DataLicense: "CC0-1.0", ID: documentID,
		Name:      fmt.Sprintf("%s-%s-linux-%s", b.name, b.version, b.arch),
		Namespace: "https://spdx.org/spdxdocs/" + b.name + "-" + b.sha256,
		Creation:  creation{b.made.Format(time.RFC3339), []string{"Tool: edged-bill"}},
		Packages: []spdxPackage{{
			ID: binaryID, Name: b.name, Version: b.version, Purpose: "APPLICATION", Download: noClaim,
			Checksums: []checksum{{"SHA256", b.sha256}}, Concluded: noClaim, Declared: b.licence, Copyright: noClaim,
		}},
		Relationships: []relationship{{documentID, "DESCRIBES", binaryID}},
	}
	for _, p := range b.parts {
		s := spdxPackage{
			ID: "SPDXRef-" + unfit.ReplaceAllString(p.path, "-"), Name: p.path, Version: p.version, Purpose: "LIBRARY",
			Download: "https://proxy.golang.org/" + escaped(p.path) + "/@v/" + escaped(p.version) + ".zip", Concluded: noClaim, Declared: p.licence, Copyright: noClaim,
			References: []external{{"PACKAGE-MANAGER", "purl", "pkg:golang/" + p.path + "@" + p.version}},
		}
		if p.sum == "" {
			s.Download = "https://go.dev/dl/go" + p.version + ".src.tar.gz"
		} else {
			s.SourceInfo = "checksum in go.sum: " + p.sum
		}
		d.Packages = append(d.Packages, s)
		d.Relationships = append(d.Relationships, relationship{binaryID, "STATIC_LINK", s.ID})
	}
	out, err := json.MarshalIndent(d, "", "  ")
	return append(out, '\n'), err
}
