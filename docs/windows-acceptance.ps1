<#
.SYNOPSIS
Tests pcapctl on a real Windows, and writes one report. It takes up to 20 minutes and asks nothing.

.DESCRIPTION
Captures packets that it sends and numbers itself, over the loopback adapter and over one other, and compares what is in the
files. The packets of the other adapter go to multicast groups for private use with a hop limit of 1: no router passes them on.
Run it elevated (Npcap may ask for it; the disk that is filled and the scheduled task need it), in PowerShell 5.1 or 7:

    powershell -ExecutionPolicy Bypass -File windows-acceptance.ps1 -Program C:\Tools\pcapctl.exe -Adapter Ethernet

What cannot be tested is a line "skip" with the reason. All it makes is in one folder below the temporary folder, which it
removes, and in a state folder there. The exit code is the number of tests that failed, 100 at the most.

.PARAMETER Program
The program. By default pcapctl.exe beside this script, in the folder above, or in the path.

.PARAMETER Adapter
Name of the adapter. By default the one that leads to the internet.

.PARAMETER Report
File name of the report without extension; .txt and .json are added. By default in the current folder.

.PARAMETER BlobUrl
Address of a blob that may be written, with a signature. Without it nothing is uploaded.

.PARAMETER FloodSeconds
How long packets are sent as fast as they go.
#>
[CmdletBinding()]
param(
    [string]$Program = '',
    [string]$Adapter = '',
    [string]$Report = (Join-Path (Get-Location).Path 'pcapctl-acceptance'),
    [string]$BlobUrl = '',
    [int]$FloodSeconds = 60
)

Set-StrictMode -Version 2
$ErrorActionPreference = 'Stop'

# In C# 5, which is what PowerShell 5.1 compiles.
Add-Type -TypeDefinition @'
using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.IO;
using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Threading;

namespace Acceptance
{
    // A program that runs, with a console of its own that has no window.
    public class Run
    {
        private readonly Process process = new Process();
        private readonly StringBuilder err = new StringBuilder();
        private readonly StringBuilder stdout = new StringBuilder();
        public Run(string program, string arguments)
        {
            ProcessStartInfo info = new ProcessStartInfo(program, arguments);
            info.UseShellExecute = false;
            info.CreateNoWindow = true;
            info.RedirectStandardOutput = true;
            info.RedirectStandardError = true;
            info.StandardOutputEncoding = Encoding.UTF8;
            info.StandardErrorEncoding = Encoding.UTF8;
            process.StartInfo = info;
            process.OutputDataReceived += delegate(object sender, DataReceivedEventArgs line) { Add(stdout, line.Data); };
            process.ErrorDataReceived += delegate(object sender, DataReceivedEventArgs line) { Add(err, line.Data); };
            process.Start();
            process.BeginOutputReadLine();
            process.BeginErrorReadLine();
        }
        private static void Add(StringBuilder to, string line)
        {
            if (line != null) { lock (to) { to.Append(line).Append('\n'); } }
        }
        public int Id { get { return process.Id; } }
        public bool Ended { get { return process.HasExited; } }
        public string Out { get { lock (stdout) { return stdout.ToString(); } } }
        public string Err { get { lock (err) { return err.ToString(); } } }
        // Waits until the program has said something on stderr.
        public bool Said(string text, int seconds)
        {
            Stopwatch watch = Stopwatch.StartNew();
            while (watch.Elapsed.TotalSeconds < seconds)
            {
                if (Err.Contains(text)) { return true; }
                if (process.HasExited) { process.WaitForExit(); return Err.Contains(text); }
                Thread.Sleep(20);
            }
            return false;
        }
        // Waits for the end and returns the exit code; a program that takes longer is killed, and -1000 returned.
        public int End(int seconds)
        {
            if (!process.WaitForExit(seconds * 1000)) { Kill(); return -1000; }
            process.WaitForExit(); // until all output is read
            return process.ExitCode;
        }
        public void Kill()
        {
            try { process.Kill(); } catch (InvalidOperationException) { }
            process.WaitForExit();
        }
    }

    // Numbered packets: the payload is "pcapctl-acceptance:", a letter for the group, and eight digits.
    public static class Traffic
    {
        public const string Mark = "pcapctl-acceptance:";
        public static void Send(char group, string from, string to, int port, int count, int perSecond)
        {
            IPAddress source = IPAddress.Parse(from);
            IPEndPoint target = new IPEndPoint(IPAddress.Parse(to), port);
            using (Socket socket = new Socket(source.AddressFamily, SocketType.Dgram, ProtocolType.Udp))
            {
                if (target.Address.IsIPv6Multicast)
                {
                    socket.SetSocketOption(SocketOptionLevel.IPv6, SocketOptionName.MulticastTimeToLive, 1);
                    socket.SetSocketOption(SocketOptionLevel.IPv6, SocketOptionName.MulticastInterface, (int)source.ScopeId);
                }
                else if (source.AddressFamily == AddressFamily.InterNetwork && target.Address.GetAddressBytes()[0] >= 224)
                {
                    socket.SetSocketOption(SocketOptionLevel.IP, SocketOptionName.MulticastTimeToLive, 1);
                    socket.SetSocketOption(SocketOptionLevel.IP, SocketOptionName.MulticastInterface, source.GetAddressBytes());
                }
                socket.Bind(new IPEndPoint(source, port + 1000));
                Stopwatch watch = Stopwatch.StartNew();
                for (int i = 1; i <= count; i++)
                {
                    socket.SendTo(Encoding.ASCII.GetBytes(Mark + group + i.ToString("D8")), target);
                    while (perSecond > 0 && watch.Elapsed.TotalSeconds * perSecond < i) { Thread.Sleep(1); }
                }
            }
        }
        // Sends as fast as it goes, and returns how many were sent.
        public static int Flood(char group, string address, int port, int seconds)
        {
            IPEndPoint target = new IPEndPoint(IPAddress.Parse(address), port);
            int sent = 0;
            using (Socket socket = new Socket(target.AddressFamily, SocketType.Dgram, ProtocolType.Udp))
            {
                Stopwatch watch = Stopwatch.StartNew();
                while (watch.Elapsed.TotalSeconds < seconds)
                {
                    try { socket.SendTo(Encoding.ASCII.GetBytes(Mark + group + (sent + 1).ToString("D8")), target); }
                    catch (SocketException) { continue; } // Windows has no buffers left for a moment: it was not sent
                    sent++;
                }
            }
            return sent;
        }
        // The same beside the caller.
        public static Thread FloodBehind(char group, string address, int port, int seconds)
        {
            Thread thread = new Thread(delegate() { Flood(group, address, port, seconds); });
            thread.IsBackground = true;
            thread.Start();
            return thread;
        }
        // A socket that takes packets, so that nothing answers that the port is closed.
        public static Socket Receiver(string address, int port)
        {
            IPAddress local = IPAddress.Parse(address);
            Socket socket = new Socket(local.AddressFamily, SocketType.Dgram, ProtocolType.Udp);
            socket.Bind(new IPEndPoint(local, port));
            return socket;
        }
    }

    // A capture file, pcap or pcapng in the byte order of this machine.
    public class CaptureFile
    {
        public int Packets;
        public long Size;
        public bool Ng;
        public string Damage = "";
        public Dictionary<string, int> Seen = new Dictionary<string, int>(); // group and number, and how often; not of a flood, F
        public int Count(string group)
        {
            int n = 0;
            foreach (string key in Seen.Keys) { if (key.StartsWith(group)) { n++; } }
            return n;
        }
        public int Repeated
        {
            get { int n = 0; foreach (int often in Seen.Values) { if (often > 1) { n++; } } return n; }
        }
        public static CaptureFile Read(string path)
        {
            CaptureFile file = new CaptureFile();
            byte[] data;
            using (FileStream stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete))
            {
                data = new byte[stream.Length];
                int got = 0;
                while (got < data.Length)
                {
                    int n = stream.Read(data, got, data.Length - got);
                    if (n == 0) { break; }
                    got += n;
                }
            }
            file.Size = data.Length;
            if (data.Length < 24) { file.Damage = "shorter than a header"; return file; }
            uint magic = BitConverter.ToUInt32(data, 0);
            file.Ng = magic == 0x0A0D0D0A;
            if (!file.Ng && magic != 0xA1B2C3D4 && magic != 0xA1B23C4D) { file.Damage = "not a capture file"; return file; }
            long at = file.Ng ? 0 : 24;
            while (at < data.Length)
            {
                if (file.Ng)
                {
                    if (at + 12 > data.Length) { file.Damage = "ends within a block"; return file; }
                    uint type = BitConverter.ToUInt32(data, (int)at);
                    long length = BitConverter.ToUInt32(data, (int)at + 4);
                    if (length < 12 || at + length > data.Length) { file.Damage = "ends within a block"; return file; }
                    if (type == 6) { file.Packet(data, (int)at + 28, (int)BitConverter.ToUInt32(data, (int)at + 20)); }
                    at += length;
                }
                else
                {
                    if (at + 16 > data.Length) { file.Damage = "ends within a record"; return file; }
                    long length = BitConverter.ToUInt32(data, (int)at + 8);
                    if (at + 16 + length > data.Length) { file.Damage = "ends within a record"; return file; }
                    file.Packet(data, (int)at + 16, (int)length);
                    at += 16 + length;
                }
            }
            return file;
        }
        private void Packet(byte[] data, int at, int length)
        {
            Packets++;
            int end = at + length - Traffic.Mark.Length - 9;
            for (int i = at; i <= end; i++)
            {
                int k = 0;
                while (k < Traffic.Mark.Length && data[i + k] == (byte)Traffic.Mark[k]) { k++; }
                if (k < Traffic.Mark.Length) { continue; }
                if (data[i + k] == (byte)'F') { return; } // many millions
                string key = Encoding.ASCII.GetString(data, i + k, 9);
                int often;
                Seen.TryGetValue(key, out often);
                Seen[key] = often + 1;
                return;
            }
        }
    }
}
'@

# ---- The report

$results = New-Object System.Collections.ArrayList
$started = Get-Date

function Add-Line([string]$Result, [string]$Name, [string]$Text) {
    $line = [pscustomobject]@{ result = $Result; name = $Name; text = $Text.Trim(); seconds = [math]::Round(((Get-Date) - $started).TotalSeconds, 1) }
    [void]$results.Add($line)
    Write-Host ('{0,-5} {1}: {2}' -f $line.result, $line.name, $line.text)
}

# A test is a block of code. What it throws fails it; what it returns is written beside it.
function Test-That([string]$Name, [scriptblock]$Body) {
    try {
        $said = (& $Body | Out-String)
        Add-Line 'pass' $Name $said
    } catch {
        $text = $_.Exception.Message
        $trace = @($_.ScriptStackTrace -split "`n" | Where-Object { $_ -notmatch 'at (Assert|Skip),' } | Select-Object -First 1) -join ''
        if ($text.StartsWith('skip: ')) {
            Add-Line 'skip' $Name $text.Substring(6)
        } else {
            Add-Line 'fail' $Name ($text + ' (' + $trace.Trim() + ')')
        }
    }
}

function Skip([string]$Why) { throw ('skip: ' + $Why) }

function Assert([bool]$Holds, [string]$Else) {
    if (-not $Holds) { throw $Else }
}

# ---- The program

# Quotes arguments as the C runtime reads them back.
function Join-Arguments([string[]]$Arguments) {
    $quoted = foreach ($one in $Arguments) {
        if ($one -ne '' -and $one -notmatch '[\s"]') {
            $one
        } else {
            '"' + ([regex]::Replace(([regex]::Replace($one, '(\\*)"', '$1$1\"')), '(\\+)$', '$1$1')) + '"'
        }
    }
    return ($quoted -join ' ')
}

function Start-Program([string[]]$Arguments) {
    return (New-Object Acceptance.Run -ArgumentList $script:exe, (Join-Arguments ($Arguments + @('--state-dir', $script:state))))
}

# Runs the program to its end. Fails when the exit code is not the one wanted.
function Invoke-Program([string[]]$Arguments, [int]$Code = 0, [int]$Seconds = 60) {
    $run = Start-Program $Arguments
    $got = $run.End($Seconds)
    Assert ($got -eq $Code) ("exit code $got instead of $Code of: " + ($Arguments -join ' ') + '; ' + $run.Err.Trim() + ' ' + $run.Out.Trim())
    return $run
}

# Starts a capture and waits until it captures.
function Start-Capture([string[]]$Arguments) {
    $run = Start-Program (@('create', '-o', 'json', '--captures-dir', $script:captures) + $Arguments)
    if (-not $run.Said('capturing on', 30)) {
        $code = $run.End(5)
        throw ("does not capture (exit code $code): " + $run.Err.Trim() + ' ' + $run.Out.Trim())
    }
    return $run
}

# Ends a capture by the stop verb, and gives back its result.
function Stop-Capture($Run, [string]$Name, [int]$Code = 0) {
    [void](Invoke-Program @('stop', $Name))
    $got = $Run.End(30)
    Assert ($got -eq $Code) ("exit code $got instead of ${Code}: " + $Run.Err.Trim())
    return ($Run.Out | ConvertFrom-Json).properties
}

function Read-Capture([string]$Path) { return [Acceptance.CaptureFile]::Read($Path) }

$counter = 0
function New-Name { $script:counter++; return ('acceptance-{0}-{1}' -f $PID, $script:counter) }

# Captures while a block of code sends, and gives back result and file.
function Measure-Capture([string[]]$Arguments, [scriptblock]$Send) {
    $name = New-Name
    $run = Start-Capture (@('-n', $name) + $Arguments)
    & $Send | Out-Null
    $result = Stop-Capture $run $name
    $file = Read-Capture $result.storageLocation.filePath
    Assert ($file.Damage -eq '') ('the file ' + $file.Damage)
    Assert ($file.Packets -eq $result.statistics.packetsCaptured) ("$($file.Packets) packets in the file, $($result.statistics.packetsCaptured) in the result")
    return [pscustomobject]@{ Result = $result; File = $file }
}

# Says what is different between the groups that were to be captured, each whole, and those that were.
function Compare-Groups($File, [string]$All, [string]$Wanted, [int]$Each) {
    foreach ($group in $All.ToCharArray()) {
        $want = 0
        if ($Wanted.Contains([string]$group)) { $want = $Each }
        $got = $File.Count([string]$group)
        Assert ($got -eq $want) "group ${group}: $got packets instead of $want"
    }
    Assert ($File.Repeated -eq 0) "$($File.Repeated) packets are in the file more than once"
}

# ---- What there is

if ($Program -eq '') {
    $found = @((Join-Path $PSScriptRoot 'pcapctl.exe'), (Join-Path (Split-Path $PSScriptRoot -Parent) 'pcapctl.exe')) | Where-Object { Test-Path $_ } | Select-Object -First 1
    if (-not $found) {
        $command = Get-Command 'pcapctl.exe' -ErrorAction SilentlyContinue
        if ($command) { $found = $command.Path }
    }
    if (-not $found) { throw 'pcapctl.exe was not found: name it with -Program' }
    $Program = $found
}
$exe = (Resolve-Path $Program).Path
$identity = [Security.Principal.WindowsIdentity]::GetCurrent()
$elevated = (New-Object Security.Principal.WindowsPrincipal($identity)).IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator)
$work = Join-Path ([IO.Path]::GetTempPath()) ('pcapctl-acceptance-' + $PID)
$captures = Join-Path $work 'captures'
$state = Join-Path $work 'state'
[void](New-Item -ItemType Directory -Path $work)

$npcap = 'not installed'
$npcapKey = 'HKLM:\SYSTEM\CurrentControlSet\Services\npcap\Parameters'
if (Test-Path $npcapKey) {
    $npcap = 'installed'
    $dll = Join-Path $env:SystemRoot 'System32\Npcap\wpcap.dll'
    if (Test-Path $dll) { $npcap = (Get-Item $dll).VersionInfo.ProductVersion }
    $only = (Get-ItemProperty $npcapKey).PSObject.Properties | Where-Object { $_.Name -eq 'AdminOnly' }
    if ($only -and $only.Value -eq 1) { $npcap += ', for administrators only' }
}
$system = Get-CimInstance Win32_OperatingSystem
$facts = [pscustomobject]@{
    date       = $started.ToUniversalTime().ToString('o')
    windows    = ('{0} {1}' -f $system.Caption, $system.Version)
    powershell = $PSVersionTable.PSVersion.ToString()
    elevated   = $elevated
    npcap      = $npcap
    program    = $exe
}

# ---- Without a capture

$receivers = @()
try {
    Test-That 'version' {
        $version = (Invoke-Program @('version', '-o', 'json')).Out | ConvertFrom-Json
        $resource = (Get-Item $exe).VersionInfo.ProductVersion
        if (-not $resource) { Skip ("$($version.version); the program has no version resource: it was not built by the release") }
        Assert (('v' + $resource) -eq $version.version) "the version resource says $resource, the program $($version.version)"
        $version.version
    }

    $interfaces = @()
    Test-That 'interfaces' {
        $all = (Invoke-Program @('interfaces', '-o', 'json')).Out | ConvertFrom-Json
        $script:interfaces = @($all)
        Assert ($script:interfaces.Count -gt 0) 'there are none'
        # An adapter below a virtual switch or a team has no IP of its own, and is not among them.
        $up = @(Get-NetAdapter -ErrorAction SilentlyContinue | Where-Object { $_.Status -eq 'Up' -and @(Get-NetIPInterface -InterfaceIndex $_.ifIndex -ErrorAction SilentlyContinue).Count -gt 0 })
        foreach ($one in $up) {
            Assert (@($script:interfaces | Where-Object { $_.name -eq $one.Name }).Count -eq 1) "$($one.Name) is not among them"
        }
        "$($script:interfaces.Count), all $($up.Count) that are up and have IP among them"
    }

    $net = $null
    if ($Adapter -eq '') {
        $route = Get-NetRoute -DestinationPrefix '0.0.0.0/0' -ErrorAction SilentlyContinue | Sort-Object -Property RouteMetric | Select-Object -First 1
        if ($route) { $net = Get-NetAdapter -InterfaceIndex $route.InterfaceIndex -ErrorAction SilentlyContinue | Select-Object -First 1 }
    } else {
        $net = Get-NetAdapter -Name $Adapter
    }

    Test-That 'an adapter by each of its names' {
        if (-not $net) { Skip 'there is no adapter: name one with -Adapter' }
        foreach ($name in @($net.Name, $net.InterfaceDescription, [string]$net.ifIndex, $net.InterfaceGuid)) {
            [void](Invoke-Program @('validate', '-i', $name, '--captures-dir', $captures))
        }
        $net.Name + ', ' + $net.InterfaceDescription
    }

    Test-That 'paths that are refused' {
        foreach ($path in @('NUL', 'C:NUL', 'C:web.cap', '\\server\share\web.cap', '\\.\PhysicalDrive0', 'C:\Captures\com1.cap', 'C:\Captures\web.cap:stream', 'C:\Captures\..\web.cap', 'C:\Captures\web?.cap')) {
            [void](Invoke-Program @('validate', '--file-path', $path) 2)
        }
    }

    Test-That 'a request file in the encodings of Windows' {
        $text = '{"properties":{"target":"/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/vm1","storageLocation":{"filePath":"' + $captures.Replace('\', '\\') + '\\request.cap"},"timeLimitInSeconds":5}}'
        $path = Join-Path $work 'request.json'
        foreach ($encoding in @([Text.Encoding]::Unicode, (New-Object Text.UTF8Encoding($true)))) {
            [IO.File]::WriteAllText($path, $text.Replace(',', ",`r`n"), $encoding)
            [void](Invoke-Program @('validate', '-f', $path))
        }
    }

    # ---- Loopback

    $loopback = @($interfaces | Where-Object { $_.framing -eq 'loopback' -or $_.name -match 'loopback' } | Select-Object -First 1)
    $lo = ''
    if ($loopback.Count -gt 0) { $lo = $loopback[0].name }
    $receivers = @(
        [Acceptance.Traffic]::Receiver('127.0.0.1', 45001), [Acceptance.Traffic]::Receiver('127.0.0.1', 45002), [Acceptance.Traffic]::Receiver('::1', 45001)
    )
    $sendLoopback = {
        [Acceptance.Traffic]::Send([char]'A', '127.0.0.1', '127.0.0.1', 45001, 50, 2000)
        [Acceptance.Traffic]::Send([char]'B', '127.0.0.1', '127.0.0.1', 45002, 50, 2000)
        [Acceptance.Traffic]::Send([char]'C', '::1', '::1', 45001, 50, 2000)
    }
    # Beside the arguments: which groups are captured. 127.0.0.1 is below the sign bit of an address, the ends of some ranges above.
    $loopbackFilters = @(
        @('', 'ABC'),
        @('--port|45001', 'AC'),
        @('--port|45001-45002', 'ABC'),
        @('--port|45002-65535', 'ABC'),
        @('--filter|protocol=UDP', 'ABC'),
        @('--filter|protocol=TCP', ''),
        @('--host|127.0.0.1', 'AB'),
        @('--host|::1', 'C'),
        @('--host|100.0.0.0-200.0.0.0', 'AB'),
        @('--host|128.0.0.0-255.255.255.255', ''),
        @('--host|0.0.0.0-126.255.255.255', ''),
        @('--host|127.0.0.1-128.0.0.0', 'AB'),
        @('--host|::-7fff::', 'C'),
        @('--host|8000::-ffff::', ''),
        @('--filter|localPort=45001,45002', 'ABC'),
        @('--filter|protocol=UDP,localIPAddress=127.0.0.1,remotePort=45002', 'B'),
        @('--filter|localPort=45002|--filter|remoteIPAddress=::1', 'BC')
    )
    foreach ($row in $loopbackFilters) {
        Test-That ('loopback, filter ' + $row[0].Replace('|', ' ')) {
            if (-not $lo) { Skip 'there is no loopback adapter: Npcap can be installed without it' }
            $arguments = @('-i', $lo, '--icmp-errors=false')
            if ($row[0]) { $arguments += $row[0].Split('|') }
            $got = Measure-Capture $arguments $sendLoopback
            Compare-Groups $got.File 'ABC' $row[1] 50
            "$($got.File.Packets) packets, filter mode $($got.Result.statistics.filterMode)"
        }
    }

    Test-That 'pcapng' {
        if (-not $lo) { Skip 'there is no loopback adapter' }
        $got = Measure-Capture @('-i', $lo, '--format', 'pcapng', '--port', '45001') $sendLoopback
        Assert $got.File.Ng 'the file is not pcapng'
        Compare-Groups $got.File 'ABC' 'AC' 50
    }

    # ---- Limits

    Test-That 'time limit on an idle link' {
        if (-not $lo) { Skip 'there is no loopback adapter' }
        $watch = [Diagnostics.Stopwatch]::StartNew()
        $run = Start-Capture @('-n', (New-Name), '-i', $lo, '--port', '45999', '--time-limit', '3')
        $code = $run.End(30)
        Assert ($code -eq 0) ("exit code ${code}: " + $run.Err)
        $result = ($run.Out | ConvertFrom-Json).properties
        Assert ($result.stopReason -eq 'TimeExceeded') "stop reason $($result.stopReason)"
        $took = $result.statistics.durationInSeconds
        Assert ($took -ge 2.9 -and $took -lt 4) "it took $took s instead of 3"
        "$took s, with start and end $([math]::Round($watch.Elapsed.TotalSeconds, 1)) s"
    }

    Test-That 'byte limit' {
        if (-not $lo) { Skip 'there is no loopback adapter' }
        $run = Start-Capture @('-n', (New-Name), '-i', $lo, '--port', '45001', '--capture-limit', '10000')
        [Acceptance.Traffic]::Send([char]'A', '127.0.0.1', '127.0.0.1', 45001, 1000, 5000)
        $code = $run.End(30)
        Assert ($code -eq 0) ("exit code ${code}: " + $run.Err)
        $result = ($run.Out | ConvertFrom-Json).properties
        Assert ($result.stopReason -eq 'SizeExceeded') "stop reason $($result.stopReason)"
        $file = Read-Capture $result.storageLocation.filePath
        Assert ($file.Damage -eq '') ('the file ' + $file.Damage)
        Assert ($file.Size -le 10000 -and $file.Size -gt 9800) "$($file.Size) bytes instead of nearly 10000"
        Assert ($file.Count('A') -eq $file.Packets -and $file.Seen.ContainsKey(('A{0:D8}' -f $file.Packets))) 'not the first packets, without a gap'
        "$($file.Size) bytes, $($file.Packets) packets"
    }

    Test-That 'a ring of files' {
        if (-not $lo) { Skip 'there is no loopback adapter' }
        $name = New-Name
        $run = Start-Capture @('-n', $name, '-i', $lo, '--port', '45001', '--continuous-capture', 'true', '--local-path', (Join-Path $captures 'ring.cap'), '--capture-settings', 'file-count=3', 'file-size-in-bytes=102400')
        [Acceptance.Traffic]::Send([char]'A', '127.0.0.1', '127.0.0.1', 45001, 8000, 4000)
        $result = Stop-Capture $run $name
        $files = @(Get-ChildItem -Path $captures -Filter 'ring*')
        Assert ($files.Count -eq 3) "$($files.Count) files instead of 3"
        $last = 0
        foreach ($one in $files) {
            $file = Read-Capture $one.FullName
            Assert ($file.Damage -eq '') ($one.Name + ' ' + $file.Damage)
            if ($file.Seen.ContainsKey('A00008000')) { $last++ }
        }
        Assert ($last -eq 1) 'the last packet is not in the newest file'
        'the oldest files were removed'
    }

    # ---- Ends

    Test-That 'Ctrl-C' {
        if (-not $lo) { Skip 'there is no loopback adapter' }
        $run = Start-Capture @('-n', (New-Name), '-i', $lo, '--port', '45001')
        & $sendLoopback
        # In another process: to signal another console one has to leave one's own.
        $helper = Join-Path $work 'ctrl-c.ps1'
        Set-Content -Path $helper -Encoding ASCII -Value @(
            'param([uint32]$Id)',
            'Add-Type -Namespace A -Name K -MemberDefinition ''[DllImport("kernel32.dll")] public static extern bool FreeConsole(); [DllImport("kernel32.dll")] public static extern bool AttachConsole(uint id); [DllImport("kernel32.dll")] public static extern bool SetConsoleCtrlHandler(System.IntPtr handler, bool add); [DllImport("kernel32.dll")] public static extern bool GenerateConsoleCtrlEvent(uint which, uint group);''',
            '[void][A.K]::FreeConsole()',
            'if (-not [A.K]::AttachConsole($Id)) { exit 3 }',
            '[void][A.K]::SetConsoleCtrlHandler([IntPtr]::Zero, $true)',
            'if (-not [A.K]::GenerateConsoleCtrlEvent(0, 0)) { exit 4 }',
            'Start-Sleep -Milliseconds 500'
        )
        $shell = (Get-Process -Id $PID).Path
        $sent = New-Object Acceptance.Run -ArgumentList $shell, (Join-Arguments @('-NoProfile', '-ExecutionPolicy', 'Bypass', '-File', $helper, [string]$run.Id))
        $code = $sent.End(60)
        Assert ($code -eq 0) ("Ctrl-C could not be sent: exit code $code; " + $sent.Err)
        $code = $run.End(30)
        Assert ($code -eq 0) ("exit code ${code}: " + $run.Err)
        $result = ($run.Out | ConvertFrom-Json).properties
        Assert ($result.stopReason -eq 'Manual') "stop reason $($result.stopReason)"
        Compare-Groups (Read-Capture $result.storageLocation.filePath) 'AC' 'AC' 50
    }

    Test-That 'kills, 20 of them, under load' {
        if (-not $lo) { Skip 'there is no loopback adapter' }
        for ($i = 1; $i -le 20; $i++) {
            $name = New-Name
            $run = Start-Capture @('-n', $name, '-i', $lo, '--port', '45001')
            $flood = [Acceptance.Traffic]::FloodBehind([char]'K', '127.0.0.1', 45001, 2)
            Start-Sleep -Milliseconds (Get-Random -Minimum 300 -Maximum 1500)
            $run.Kill()
            $flood.Join()
            $path = Join-Path $captures ($name + '.cap')
            # The guard cuts the file after the end of the process.
            $file = $null
            for ($try = 0; $try -lt 50; $try++) {
                $file = Read-Capture $path
                if ($file.Damage -eq '') { break }
                Start-Sleep -Milliseconds 100
            }
            Assert ($file.Damage -eq '') "kill ${i}: the file $($file.Damage)"
            Assert ($file.Packets -gt 0) "kill ${i}: nothing in the file"
            $status = (Invoke-Program @('show-status', $name, '-o', 'json')).Out | ConvertFrom-Json
            Assert ($status.packetCaptureStatus -eq 'Error') "kill ${i}: status $($status.packetCaptureStatus)"
            [void](Invoke-Program @('delete', $name))
        }
        'every file ends with a whole packet, every session has the status Error'
    }

    # ---- Sessions

    Test-That 'a session in the background' {
        if (-not $lo) { Skip 'there is no loopback adapter' }
        $name = New-Name
        [void](Invoke-Program @('create', '--no-wait', '-n', $name, '-i', $lo, '--port', '45001', '--captures-dir', $captures))
        & $sendLoopback
        $listed = ((Invoke-Program @('list', '--running', '-o', 'json')).Out | ConvertFrom-Json).value
        Assert (@($listed | Where-Object { $_.name -eq $name }).Count -eq 1) 'list --running does not have it'
        [void](Invoke-Program @('create', '-n', $name, '-i', $lo, '--captures-dir', $captures) 5)
        [void](Invoke-Program @('stop', $name))
        [void](Invoke-Program @('wait', $name))
        $shown = (Invoke-Program @('show', $name, '-o', 'json')).Out | ConvertFrom-Json
        Compare-Groups (Read-Capture $shown.properties.storageLocation.filePath) 'AC' 'AC' 50
        [void](Invoke-Program @('delete', $name))
        [void](Invoke-Program @('show', $name) 4)
    }

    Test-That 'a session outlives the program that began it, and its console' {
        if (-not $lo) { Skip 'there is no loopback adapter' }
        $name = New-Name
        $line = Join-Arguments @($exe, 'create', '--no-wait', '-n', $name, '-i', $lo, '--port', '45001', '--captures-dir', $captures, '--state-dir', $state)
        $cmd = New-Object Acceptance.Run -ArgumentList (Join-Path $env:SystemRoot 'System32\cmd.exe'), ('/d /s /c "' + $line + '"')
        $code = $cmd.End(60)
        Assert ($code -eq 0) ("exit code ${code}: " + $cmd.Err)
        Start-Sleep -Seconds 2
        $status = (Invoke-Program @('show-status', $name, '-o', 'json')).Out | ConvertFrom-Json
        Assert ($status.packetCaptureStatus -eq 'Running') "status $($status.packetCaptureStatus)"
        [void](Invoke-Program @('stop', $name))
        [void](Invoke-Program @('wait', $name))
    }

    # ---- Who may read

    Test-That 'access to files and state' {
        $allowed = @($identity.User.Value, 'S-1-5-18', 'S-1-5-32-544')
        $paths = @(Get-ChildItem -Path $state -Recurse -Force | ForEach-Object { $_.FullName }) + @(Get-ChildItem -Path $captures -File | ForEach-Object { $_.FullName })
        Assert ($paths.Count -gt 0) 'there are no files'
        foreach ($path in $paths) {
            $acl = Get-Acl -LiteralPath $path
            foreach ($rule in $acl.GetAccessRules($true, $true, [Security.Principal.SecurityIdentifier])) {
                if ($rule.AccessControlType -eq 'Allow') {
                    Assert ($allowed -contains $rule.IdentityReference.Value) "$($rule.IdentityReference.Value) may $($rule.FileSystemRights) of $path"
                }
            }
        }
        foreach ($path in @($state) + @(Get-ChildItem -Path $captures -File | Select-Object -First 5 | ForEach-Object { $_.FullName })) {
            Assert ((Get-Acl -LiteralPath $path).AreAccessRulesProtected) "$path takes over rights from the folder above"
        }
        "$($paths.Count) files and folders"
    }

    # ---- Another adapter

    $own4 = $null
    $own6 = $null
    if ($net) {
        $own4 = Get-NetIPAddress -InterfaceIndex $net.ifIndex -AddressFamily IPv4 -ErrorAction SilentlyContinue | Select-Object -First 1
        $own6 = Get-NetIPAddress -InterfaceIndex $net.ifIndex -AddressFamily IPv6 -ErrorAction SilentlyContinue | Where-Object { $_.IPAddress -like 'fe80*' } | Select-Object -First 1
    }
    $groups = 'D'
    if ($own6) { $groups = 'DE' }
    $sendAdapter = {
        [Acceptance.Traffic]::Send([char]'D', $own4.IPAddress, '239.255.77.77', 45001, 50, 2000)
        if ($own6) { [Acceptance.Traffic]::Send([char]'E', $own6.IPAddress, ('ff12::7777%' + $net.ifIndex), 45001, 50, 2000) }
    }
    # The own port is 46001. Which end is the local one is told by the address of the adapter's card.
    $adapterFilters = @(
        @('', 'DE'),
        @('--port|45001', 'DE'),
        @('--host|224.0.0.0-239.255.255.255', 'D'),
        @('--host|239.255.77.77', 'D'),
        @('--filter|remoteIPAddress=100.0.0.0-240.0.0.0', 'D'),
        @('--filter|remoteIPAddress=200.0.0.0-239.255.77.77', 'D'),
        @('--filter|remoteIPAddress=1.0.0.0-127.255.255.255', ''),
        @('--filter|remoteIPAddress=239.255.77.78-255.255.255.255', ''),
        @('--filter|remoteIPAddress=ff00::-ffff::', 'E'),
        @('--filter|localPort=46001', 'DE'),
        @('--filter|remotePort=46001', ''),
        @('--filter|localIPAddress=239.255.77.77', '')
    )
    foreach ($row in $adapterFilters) {
        Test-That ('adapter, filter ' + $row[0].Replace('|', ' ')) {
            if (-not $own4) { Skip 'there is no adapter with an IPv4 address: name one with -Adapter' }
            $arguments = @('-i', $net.Name)
            if ($row[0]) { $arguments += $row[0].Split('|') }
            $got = Measure-Capture $arguments $sendAdapter
            Compare-Groups $got.File $groups $row[1] 50
            "$($got.File.Packets) packets, filter mode $($got.Result.statistics.filterMode)"
        }
    }

    Test-That 'two adapters' {
        if (-not $lo -or -not $own4) { Skip 'there are not two adapters' }
        foreach ($format in @('pcap', 'pcapng')) {
            $got = Measure-Capture @('-i', $lo, '-i', $net.Name, '--port', '45001', '--format', $format) { & $sendLoopback; & $sendAdapter }
            Compare-Groups $got.File ('AC' + $groups) ('AC' + $groups) 50
        }
    }

    # ---- Load

    Test-That '20,000 packets/s for 60 s' {
        if (-not $lo) { Skip 'there is no loopback adapter' }
        $got = Measure-Capture @('-i', $lo, '--port', '45001', '--icmp-errors=false', '--buffer-size', '64MiB') { [Acceptance.Traffic]::Send([char]'L', '127.0.0.1', '127.0.0.1', 45001, 1200000, 20000) }
        $file = $got.File
        Assert ($file.Count('L') -eq 1200000) "$($file.Count('L')) packets of 1200000; dropped: $($got.Result.statistics.packetsDroppedByKernel)"
        "dropped: $($got.Result.statistics.packetsDroppedByKernel)"
    }

    Test-That 'a flood: packets in the file and drops are what was sent' {
        if (-not $lo) { Skip 'there is no loopback adapter' }
        $sent = 0
        $got = Measure-Capture @('-i', $lo, '--port', '45001', '--icmp-errors=false', '--buffer-size', '2MiB', '--capture-limit', '2000000000') { $script:sent = [Acceptance.Traffic]::Flood([char]'F', '127.0.0.1', 45001, $FloodSeconds) }
        $sent = $script:sent
        $dropped = $got.Result.statistics.packetsDroppedByKernel
        Assert ($got.Result.stopReason -eq 'Manual') "stop reason $($got.Result.stopReason): name fewer seconds with -FloodSeconds"
        Assert (($got.File.Packets + $dropped) -eq $sent) "$($got.File.Packets) in the file and $dropped dropped are not the $sent that were sent"
        "$sent sent, $($got.File.Packets) in the file, $dropped dropped"
    }

    # ---- What needs an administrator

    Test-That 'a full disk' {
        if (-not $lo) { Skip 'there is no loopback adapter' }
        if (-not $elevated) { Skip 'a virtual disk needs an elevated PowerShell' }
        $disk = Join-Path $work 'full.vhd'
        $mount = Join-Path $work 'full'
        [void](New-Item -ItemType Directory -Path $mount)
        $script1 = Join-Path $work 'diskpart.txt'
        Set-Content -Path $script1 -Encoding ASCII -Value @("create vdisk file=`"$disk`" maximum=64 type=fixed", 'attach vdisk', 'create partition primary', 'format fs=ntfs quick', "assign mount=`"$mount`"")
        $made = New-Object Acceptance.Run -ArgumentList 'diskpart.exe', ('/s "' + $script1 + '"')
        if ($made.End(120) -ne 0) { Skip ('diskpart made no virtual disk: ' + $made.Out.Trim()) }
        try {
            $run = Start-Capture @('-n', (New-Name), '-i', $lo, '--port', '45001', '--file-path', (Join-Path $mount 'full.cap'), '--captures-dir', $mount, '--min-free', '0')
            for ($i = 0; $i -lt 120 -and -not $run.Ended; $i++) { [void][Acceptance.Traffic]::Flood([char]'V', '127.0.0.1', 45001, 1) }
            $code = $run.End(10)
            Assert ($code -eq 7) ("exit code $code instead of 7: " + $run.Err)
            $file = Read-Capture (Join-Path $mount 'full.cap')
            Assert ($file.Damage -eq '') ('the file ' + $file.Damage)
            Assert ($file.Packets -gt 0) 'nothing is in the file'
            "$($file.Packets) packets are in the file"
        } finally {
            Set-Content -Path $script1 -Encoding ASCII -Value @("select vdisk file=`"$disk`"", 'detach vdisk')
            [void](New-Object Acceptance.Run -ArgumentList 'diskpart.exe', ('/s "' + $script1 + '"')).End(120)
        }
    }

    Test-That 'a scheduled task as SYSTEM' {
        if (-not $lo) { Skip 'there is no loopback adapter' }
        if (-not $elevated) { Skip 'a task of SYSTEM needs an elevated PowerShell' }
        $task = 'pcapctl-acceptance-' + $PID
        $path = Join-Path $work 'task'
        $action = New-ScheduledTaskAction -Execute $exe -Argument (Join-Arguments @('create', '-n', $task, '-i', $lo, '--port', '45001', '--time-limit', '15', '--captures-dir', $path, '--state-dir', (Join-Path $work 'task-state')))
        $principal = New-ScheduledTaskPrincipal -UserId 'S-1-5-18' -LogonType ServiceAccount
        [void](Register-ScheduledTask -TaskName $task -Action $action -Principal $principal -Settings (New-ScheduledTaskSettingsSet -AllowStartIfOnBatteries -DontStopIfGoingOnBatteries))
        try {
            Start-ScheduledTask -TaskName $task
            Start-Sleep -Seconds 6
            & $sendLoopback
            for ($i = 0; $i -lt 60 -and (Get-ScheduledTask -TaskName $task).State -eq 'Running'; $i++) { Start-Sleep -Seconds 1 }
            $code = (Get-ScheduledTaskInfo -TaskName $task).LastTaskResult
            Assert ($code -eq 0) "the task ended with $code"
            Compare-Groups (Read-Capture (Join-Path $path ($task + '.cap'))) 'AC' 'AC' 50
        } finally {
            Unregister-ScheduledTask -TaskName $task -Confirm:$false
        }
    }

    Test-That 'upload' {
        if ($BlobUrl -eq '') { Skip 'no -BlobUrl was given' }
        if (-not $lo) { Skip 'there is no loopback adapter' }
        $name = New-Name
        $account = ([Uri]$BlobUrl).Host.Split('.')[0]
        $run = Start-Capture @('-n', $name, '-i', $lo, '--port', '45001', '--storage-account', $account, '--storage-path', $BlobUrl, '--auth-mode', 'sas')
        & $sendLoopback
        $result = Stop-Capture $run $name
        Assert (@($result.packetCaptureError).Count -eq 0) "errors: $($result.packetCaptureError -join ', ')"
        'the blob was written; compare it with a capture of your own'
    }

    foreach ($byHand in @('closing the console window', 'logging off', 'shutting down', 'an adapter that is pulled out', 'a proxy that asks for a name', 'Npcap that is missing or for administrators only')) {
        Add-Line 'skip' $byHand 'by hand'
    }
} finally {
    foreach ($receiver in $receivers) { $receiver.Close() }
    try { [void](New-Object Acceptance.Run -ArgumentList $exe, (Join-Arguments @('stop', '--all', '--state-dir', $state))).End(60) } catch { Add-Line 'fail' 'the end' $_.Exception.Message }
    $counts = @{}
    foreach ($kind in @('pass', 'fail', 'skip')) { $counts[$kind] = @($results | Where-Object { $_.result -eq $kind }).Count }
    $facts | Add-Member -NotePropertyName 'minutes' -NotePropertyValue ([math]::Round(((Get-Date) - $started).TotalMinutes, 1))
    $facts | Add-Member -NotePropertyName 'passed' -NotePropertyValue $counts['pass']
    $facts | Add-Member -NotePropertyName 'failed' -NotePropertyValue $counts['fail']
    $facts | Add-Member -NotePropertyName 'skipped' -NotePropertyValue $counts['skip']
    $text = @($facts.PSObject.Properties | ForEach-Object { '{0}: {1}' -f $_.Name, $_.Value }) + @('') + @($results | ForEach-Object { '{0,-5} {1}: {2}' -f $_.result, $_.name, $_.text })
    Set-Content -Path ($Report + '.txt') -Encoding UTF8 -Value $text
    [pscustomobject]@{ facts = $facts; results = @($results) } | ConvertTo-Json -Depth 5 | Set-Content -Path ($Report + '.json') -Encoding UTF8
    Remove-Item -Path $work -Recurse -Force -ErrorAction SilentlyContinue
    Write-Host ('{0} passed, {1} failed, {2} skipped; report: {3}.txt and .json' -f $counts['pass'], $counts['fail'], $counts['skip'], $Report)
}
exit [math]::Min($counts['fail'], 100)
