package main

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"pcapctl/capture/container"
	"pcapctl/capture/netif"
	"pcapctl/capture/source/live"
)

func (a *app) interfacesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "interfaces",
		Short: "List the network interfaces and which of them are captured on by default",
		Args:  noArguments,
		RunE: func(*cobra.Command, []string) error {
			in, err := a.settings.network()
			if err != nil {
				return err
			}
			all, err := live.Interfaces(in.Netns)
			if err != nil {
				return err
			}
			if err := a.giveUpRoot(); err != nil {
				return err
			}
			return a.print(describeInterfaces(all))
		},
	}
	addSettingFlags(cmd, interfacesCommand)
	return cmd
}

// interfaceView is an interface as it is printed.
type interfaceView struct {
	Name      string   `json:"name"`
	AltNames  []string `json:"altNames,omitempty"` // --interface takes them, too
	Index     int      `json:"index"`
	GUID      string   `json:"guid,omitempty"` // on Windows, as is the next
	MAC       string   `json:"macAddress,omitempty"`
	Default   bool     `json:"default"`
	Reason    string   `json:"reason,omitempty"` // why it is not captured on by default
	State     string   `json:"state"`
	Framing   string   `json:"framing"`
	MTU       int      `json:"mtu"`
	Master    string   `json:"master,omitempty"`
	Lower     string   `json:"lower,omitempty"` // that carries its frames, as a VLAN's
	Addresses []string `json:"addresses"`
}

type interfaceList []interfaceView

func describeInterfaces(all []netif.Interface) interfaceList {
	names := map[int]string{}
	for _, i := range all {
		names[i.Index] = i.Name
	}
	list := make(interfaceList, 0, len(all))
	for _, i := range all {
		v := interfaceView{
			Name: i.Name, AltNames: i.AltNames, Index: i.Index, Default: i.Skipped(all) == "", Reason: i.Skipped(all),
			GUID: i.GUID, MAC: net.HardwareAddr(i.MAC).String(),
			State: "down", Framing: framing(i), MTU: i.MTU, Master: names[i.Master], Lower: names[i.Lower], Addresses: []string{},
		}
		switch {
		case i.Up && i.Running:
			v.State = "up"
		case i.Up:
			v.State = "no carrier"
		}
		for _, p := range i.Addresses {
			v.Addresses = append(v.Addresses, p.String())
		}
		list = append(list, v)
	}
	return list
}

func framing(i netif.Interface) string {
	switch {
	case i.HWType == netif.Loopback:
		return "loopback"
	case i.HWType.HasMAC():
		return "ethernet"
	case i.HWType.IsRawIP():
		return "raw IP"
	default:
		return fmt.Sprintf("cooked (device type %d)", i.HWType)
	}
}

func (l interfaceList) table() (head []string, rows [][]string) {
	for _, i := range l {
		chosen := "yes"
		if !i.Default {
			chosen = "no (" + i.Reason + ")"
		}
		name := strings.Join(append([]string{i.Name}, i.AltNames...), " = ")
		rows = append(rows, []string{name, strconv.Itoa(i.Index), i.State, chosen, i.Framing, strconv.Itoa(i.MTU), strings.Join(i.Addresses, " ")})
	}
	return []string{"name", "index", "state", "default", "framing", "MTU", "addresses"}, rows
}

func (l interfaceList) narrow() (head []string, rows []narrowRow) {
	head, all := l.table()
	last := len(head) - 1
	for _, row := range all {
		rows = append(rows, narrowRow{row[:last], row[last]})
	}
	return head[:last], rows
}

func completeInterfaces(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	netns, _ := cmd.Flags().GetString(setNetns.key)
	if name, _ := cmd.Flags().GetString(setContainer.key); name != "" {
		c, err := container.Find(name, container.ThisMachine())
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		netns = c.Netns()
	}
	all, err := live.Interfaces(netns)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	names := []string{live.AnyInterface + "\tevery interface"}
	for _, i := range all {
		about := "captured on by default"
		if why := i.Skipped(all); why != "" {
			about = why
		}
		for _, name := range append([]string{i.Name}, i.AltNames...) {
			names = append(names, name+"\t"+about)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
