package zenoh

// The registered encodings. Each may get a schema: Encoding{ID: EncodingTextPlain.ID, Schema: "utf-8"}.
var (
	EncodingZenohBytes                        = Encoding{ID: 0}  // zenoh/bytes
	EncodingZenohString                       = Encoding{ID: 1}  // zenoh/string
	EncodingZenohSerialized                   = Encoding{ID: 2}  // zenoh/serialized
	EncodingApplicationOctetStream            = Encoding{ID: 3}  // application/octet-stream
	EncodingTextPlain                         = Encoding{ID: 4}  // text/plain
	EncodingApplicationJSON                   = Encoding{ID: 5}  // application/json
	EncodingTextJSON                          = Encoding{ID: 6}  // text/json
	EncodingApplicationCDR                    = Encoding{ID: 7}  // application/cdr
	EncodingApplicationCBOR                   = Encoding{ID: 8}  // application/cbor
	EncodingApplicationYAML                   = Encoding{ID: 9}  // application/yaml
	EncodingTextYAML                          = Encoding{ID: 10} // text/yaml
	EncodingTextJSON5                         = Encoding{ID: 11} // text/json5
	EncodingApplicationPythonSerializedObject = Encoding{ID: 12} // application/python-serialized-object
	EncodingApplicationProtobuf               = Encoding{ID: 13} // application/protobuf
	EncodingApplicationJavaSerializedObject   = Encoding{ID: 14} // application/java-serialized-object
	EncodingApplicationOpenMetricsText        = Encoding{ID: 15} // application/openmetrics-text
	EncodingImagePNG                          = Encoding{ID: 16} // image/png
	EncodingImageJPEG                         = Encoding{ID: 17} // image/jpeg
	EncodingImageGIF                          = Encoding{ID: 18} // image/gif
	EncodingImageBMP                          = Encoding{ID: 19} // image/bmp
	EncodingImageWebP                         = Encoding{ID: 20} // image/webp
	EncodingApplicationXML                    = Encoding{ID: 21} // application/xml
	EncodingApplicationXWWWFormURLEncoded     = Encoding{ID: 22} // application/x-www-form-urlencoded
	EncodingTextHTML                          = Encoding{ID: 23} // text/html
	EncodingTextXML                           = Encoding{ID: 24} // text/xml
	EncodingTextCSS                           = Encoding{ID: 25} // text/css
	EncodingTextJavaScript                    = Encoding{ID: 26} // text/javascript
	EncodingTextMarkdown                      = Encoding{ID: 27} // text/markdown
	EncodingTextCSV                           = Encoding{ID: 28} // text/csv
	EncodingApplicationSQL                    = Encoding{ID: 29} // application/sql
	EncodingApplicationCoAPPayload            = Encoding{ID: 30} // application/coap-payload
	EncodingApplicationJSONPatchJSON          = Encoding{ID: 31} // application/json-patch+json
	EncodingApplicationJSONSeq                = Encoding{ID: 32} // application/json-seq
	EncodingApplicationJSONPath               = Encoding{ID: 33} // application/jsonpath
	EncodingApplicationJWT                    = Encoding{ID: 34} // application/jwt
	EncodingApplicationMP4                    = Encoding{ID: 35} // application/mp4
	EncodingApplicationSOAPXML                = Encoding{ID: 36} // application/soap+xml
	EncodingApplicationYang                   = Encoding{ID: 37} // application/yang
	EncodingAudioAAC                          = Encoding{ID: 38} // audio/aac
	EncodingAudioFLAC                         = Encoding{ID: 39} // audio/flac
	EncodingAudioMP4                          = Encoding{ID: 40} // audio/mp4
	EncodingAudioOgg                          = Encoding{ID: 41} // audio/ogg
	EncodingAudioVorbis                       = Encoding{ID: 42} // audio/vorbis
	EncodingVideoH261                         = Encoding{ID: 43} // video/h261
	EncodingVideoH263                         = Encoding{ID: 44} // video/h263
	EncodingVideoH264                         = Encoding{ID: 45} // video/h264
	EncodingVideoH265                         = Encoding{ID: 46} // video/h265
	EncodingVideoH266                         = Encoding{ID: 47} // video/h266
	EncodingVideoMP4                          = Encoding{ID: 48} // video/mp4
	EncodingVideoOgg                          = Encoding{ID: 49} // video/ogg
	EncodingVideoRaw                          = Encoding{ID: 50} // video/raw
	EncodingVideoVP8                          = Encoding{ID: 51} // video/vp8
	EncodingVideoVP9                          = Encoding{ID: 52} // video/vp9
)
