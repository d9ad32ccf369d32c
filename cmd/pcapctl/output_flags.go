package main

import (
	"github.com/spf13/cobra"

	"pcapctl/capture/request"
)

// outputFlags are the settings of what capture files look like.
func outputFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.String(setFormat, "", "`format` of the file: pcap, pcapng (default: what the extension says, else pcap)")
	f.String(setPrecision, "", "resolution of the times in pcap files: `micro`, nano (default micro; pcapng has nanoseconds)")
	f.String(setCompress, "", "compress the file: `zstd`, gzip, none (default: what the extension says)")
	f.String(setMinFree, "", "`size` that stays free on the disk: the capture ends before it would take from it; 0 is none (default 64MiB, none on a disk of less than 6.4 GB)")
	f.String(setOnFile, "", "`command` that sh runs for every finished file, which is $PCAPCTL_FILE")
	f.String(setOnFileTime, "", "how long that may take for one file (default 1m)")
	for flag, values := range map[string][]string{
		setFormat:    {request.FormatPcap, request.FormatPcapng},
		setCompress:  {request.CompressZstd, request.CompressGzip, request.CompressOff},
		setPrecision: {request.PrecisionMicro, request.PrecisionNano},
	} {
		_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	}
}
