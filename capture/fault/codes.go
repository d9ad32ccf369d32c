package fault

// The codes of an invalid request. The Missing… and InvalidRequest… ones are
// the API's; the others are general words of ARM that pcapctl chose.
const (
	CodeBadRequest       = "BadRequest"            // the body is not a JSON request at all
	CodeInvalidValue     = "InvalidParameterValue" // a member that cannot be, or not with this value
	CodeMissing          = "MissingParameter"      // a member that must be there is not
	CodeNoDestination    = "PacketCaptureIsMissingStorageIdAndLocalFilePath"
	CodeNoContinuousDest = "PacketCaptureIsMissingStorageIdAndLocalPath"
	CodeWrongMode        = "InvalidRequestPropertiesInPacketCaptureRequest" // members of the one mode in a request of the other
)

// isMissing reports whether a code is one of those for members that are not there.
func isMissing(code string) bool {
	return code == CodeMissing || code == CodeNoDestination || code == CodeNoContinuousDest
}
