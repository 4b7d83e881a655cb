package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"edged/config"
	"edged/tuning"
)

// shells are those that completions are made for.
var shells = []string{"bash", "zsh", "fish"}

func completionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "completion {bash | zsh | fish}",
		Short: "Print the completions for a shell",
		Long: `Print the completions for a shell.

For the shell that runs: source <(edged completion bash), source <(edged completion zsh), edged completion fish | source.
The package installs them for all.`,
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: shells,
		RunE: func(c *cobra.Command, args []string) error {
			switch out := c.OutOrStdout(); args[0] {
			case "bash":
				return c.Root().GenBashCompletionV2(out, true)
			case "zsh":
				return c.Root().GenZshCompletion(out)
			case "fish":
				return c.Root().GenFishCompletion(out, true)
			}
			return fmt.Errorf("%s: no such shell", args[0]) // ValidArgs has seen to it
		},
	}
}

// values are those of flags that take few: by the flag's name, with the command before it where two differ.
var values = map[string][]string{
	"push --ack":    {"none", "required", "sampled"},
	"swarm --login": {"sdk", "text", "none"},
}

// files are flags that name a file, and how its name ends; empty: as it likes.
var files = map[string]string{
	"config":     "toml",
	"file":       "",
	"cpuprofile": "",
	"socket":     "sock",
}

// complete says of every command what can stand behind it and its flags: without a word shells offer the names of files.
func complete(root *cobra.Command, box tuning.Box) {
	for _, c := range root.Commands() {
		complete(c, box)
	}
	for _, flags := range []*pflag.FlagSet{root.LocalNonPersistentFlags(), root.PersistentFlags()} {
		flags.VisitAll(func(f *pflag.Flag) { completeFlag(root, f) })
	}
	switch {
	case root.HasSubCommands() || root.ValidArgs != nil:
	case root.Name() == "check":
		root.ValidArgsFunction = func(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 { // it takes one
				return cobra.NoFileCompletions(c, args, word)
			}
			return endingIn("toml")(c, args, word)
		}
	case root.Name() == "explain":
		root.ValidArgsFunction = func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			return knownSettings(c, args, box), cobra.ShellCompDirectiveNoFileComp
		}
	default:
		root.ValidArgsFunction = cobra.NoFileCompletions
	}
}

func completeFlag(c *cobra.Command, f *pflag.Flag) {
	complete := cobra.CompletionFunc(cobra.NoFileCompletions)
	if ending, ok := files[f.Name]; ok {
		complete = endingIn(ending)
	} else if names, ok := values[c.Name()+" --"+f.Name]; ok {
		complete = cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp)
	}
	if err := c.RegisterFlagCompletionFunc(f.Name, complete); err != nil {
		panic(fmt.Sprintf("completion of %s --%s: %v", c.CommandPath(), f.Name, err)) // registered twice, or it has no such flag
	}
}

// endingIn completes the names of files.
func endingIn(ending string) cobra.CompletionFunc {
	if ending == "" {
		return cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault)
	}
	return cobra.FixedCompletions([]string{ending}, cobra.ShellCompDirectiveFilterFileExt)
}

// knownSettings are the names of what tune would look at on this box.
func knownSettings(c *cobra.Command, args []string, box tuning.Box) []string {
	if len(args) > 0 {
		return nil
	}
	_, p, err := (&tune{box: box, cfg: config.Default()}).compute(c.Context())
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range p.Entries {
		if !slices.Contains(names, e.Key) {
			names = append(names, e.Key)
		}
	}
	return names
}
