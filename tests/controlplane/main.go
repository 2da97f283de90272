// One binary of the five programs that make a Kubernetes control plane for tests. The name under which it is
// started (argv[0]) says which of them it is; failing that the first argument does.
//
// They are ordinary module dependencies, linked once: the programs share nearly all of their packages, so one
// binary takes a third of the time and space of five.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

// A program takes its arguments as a command line does, the name first, and returns its exit code.
type program func(args []string) int

var programs = map[string]program{
	"etcd":                    func(args []string) int { etcdmain.Main(args); return 0 },
	"kube-apiserver":          command(apiserver.NewAPIServerCommand),
	"kube-controller-manager": command(controllermanager.NewControllerManagerCommand),
	"kube-scheduler":          command(func() *cobra.Command { return scheduler.NewSchedulerCommand() }),
	"kubectl":                 command(kubectl.NewDefaultKubectlCommand),
}

// command makes a program of one that reads os.Args, as kubectl's search for plug-ins does.
func command(made func() *cobra.Command) program {
	return func(args []string) int {
		os.Args = args
		return cli.Run(made())
	}
}

func main() {
	if run, found := programs[filepath.Base(os.Args[0])]; found {
		os.Exit(run(os.Args))
	}
	if len(os.Args) > 1 {
		if run, found := programs[os.Args[1]]; found {
			os.Exit(run(os.Args[1:]))
		}
	}
	names := make([]string, 0, len(programs))
	for name := range programs {
		names = append(names, name)
	}
	slices.Sort(names)
	fmt.Fprintf(os.Stderr, "start this binary under the name of one of: %s\n", strings.Join(names, ", "))
	os.Exit(2)
}
