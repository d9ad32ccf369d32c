package main

import (
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"pcapctl/capture/registry"
)

func (a *app) statusCommand() *cobra.Command {
	var names nameFlags
	cmd := &cobra.Command{
		Use:     "show-status NAME",
		Aliases: []string{"query-status"},
		Short:   "Show how a session gets on: counts, and what remains of its limits",
		Long: `show-status shows how a session gets on. The counts of a running session are
those of this moment; asking for them does not slow the capture.`,
		Args:              sessionArgs(1),
		ValidArgsFunction: a.completeSessions(1, anySession),
		RunE: func(_ *cobra.Command, args []string) error {
			s, err := a.session(args[0])
			if err != nil {
				return err
			}
			status := s.Status()
			if err := a.giveUpRoot(); err != nil {
				return err
			}
			return a.print(statusView{status, s})
		},
	}
	names.add(cmd)
	return cmd
}

// statusView is the API's answer to "query status".
type statusView struct {
	*registry.Status
	session *registry.Session
}

func (v statusView) table() (head []string, rows [][]string) {
	head, row := sessionHead, sessionRow(v.session)
	if r := v.Remaining; r != nil {
		head = append(slices.Clip(head), "bytes left", "time left")
		left := []string{"no limit", "no limit"}
		if r.TotalBytesPerSession != nil {
			left[0] = sizeText(*r.TotalBytesPerSession)
		}
		if r.TimeLimitInSeconds != nil {
			left[1] = time.Duration(*r.TimeLimitInSeconds * float64(time.Second)).Round(time.Second).String()
		}
		row = append(row, left...)
		if r.PacketLimit != nil {
			head, row = append(head, "packets left"), append(row, strconv.FormatUint(*r.PacketLimit, 10))
		}
	}
	return head, [][]string{row}
}
