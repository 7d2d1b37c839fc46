"""Data types of the standard itself (namespace 0): small servers send their values without describing them. Pure.

A structure is written as: name, node id of the data type, node id of its binary encoding, fields (Part 3, 5, 8 and 14).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

BUILT_IN: Mapping[str, int] = {
    name: code
    for code, name in enumerate(
        [
            "Boolean",
            "SByte",
            "Byte",
            "Int16",
            "UInt16",
            "Int32",
            "UInt32",
            "Int64",
            "UInt64",
            "Float",
            "Double",
            "String",
            "DateTime",
            "Guid",
            "ByteString",
            "XmlElement",
            "NodeId",
            "ExpandedNodeId",
            "StatusCode",
            "QualifiedName",
            "LocalizedText",
            "ExtensionObject",
            "DataValue",
            "Variant",
            "DiagnosticInfo",
        ],
        start=1,
    )
}
"""Part 6, table 1."""

SIMPLE: Mapping[int, int] = {
    **dict.fromkeys((288, 289, 17588, 20998, 31917), 7),  # IntegerId, Counter, Index, VersionTime, Handle
    290: 11,  # Duration
    294: 13,  # UtcTime
    # LocaleId, NumericRange, Normalized-, Decimal-, Duration-, Time-, Date-, Uri-, SemanticVersion-, TrimmedString
    **dict.fromkeys((295, 291, 12877, 12878, 12879, 12880, 12881, 23751, 24263, 31918, 25726), 12),
    # Image, BMP, GIF, JPG, PNG, ApplicationInstanceCertificate, ContinuationPoint, AudioDataType
    **dict.fromkeys((30, 2000, 2001, 2002, 2003, 311, 521, 16307), 15),
    388: 17,  # SessionAuthenticationToken
    11737: 9,  # BitFieldMaskDataType
}
"""Types that are one of the built-in ones under another name: data type -> code."""

# Enumerations that occur in the structures below.
ENUMERATIONS: Mapping[str, int] = {
    "ServerState": 852,
    "AxisScaleEnumeration": 12077,
}

_TEXTS = """
Range 884 886: Double Low, Double High
EUInformation 887 889: String NamespaceUri, Int32 UnitId, LocalizedText DisplayName, LocalizedText Description
Argument 296 298: String Name, NodeId DataType, Int32 ValueRank, UInt32[] ArrayDimensions, LocalizedText
  Description
EnumValueType 7594 8251: Int64 Value, LocalizedText DisplayName, LocalizedText Description
TimeZoneDataType 8912 8917: Int16 Offset, Boolean DaylightSavingInOffset
OptionSet 12755 12765: ByteString Value, ByteString ValidBits
KeyValuePair 14533 14846: QualifiedName Key, Variant Value
ComplexNumberType 12171 12181: Float Real, Float Imaginary
DoubleComplexNumberType 12172 12182: Double Real, Double Imaginary
AxisInformation 12079 12089: EUInformation EngineeringUnits, Range EURange, LocalizedText Title,
  AxisScaleEnumeration AxisScaleType, Double[] AxisSteps
XVType 12080 12090: Double X, Float Value
RationalNumber 18806 18815: Int32 Numerator, UInt32 Denominator
ThreeDVector 18808 18817: Double X, Double Y, Double Z
ThreeDCartesianCoordinates 18810 18819: Double X, Double Y, Double Z
ThreeDOrientation 18812 18821: Double A, Double B, Double C
ThreeDFrame 18814 18823: ThreeDCartesianCoordinates CartesianCoordinates, ThreeDOrientation Orientation
CurrencyUnitType 23498 23507: Int16 NumericCode, SByte Exponent, String AlphabeticCode, LocalizedText Currency
BuildInfo 338 340: String ProductUri, String ManufacturerName, String ProductName, String SoftwareVersion,
  String BuildNumber, DateTime BuildDate
ServerStatusDataType 862 864: DateTime StartTime, DateTime CurrentTime, ServerState State, BuildInfo BuildInfo,
  UInt32 SecondsTillShutdown, LocalizedText ShutdownReason
RedundantServerDataType 853 855: String ServerId, Byte ServiceLevel, ServerState ServerState
ServiceCounterDataType 871 873: UInt32 TotalCount, UInt32 ErrorCount
ServerDiagnosticsSummaryDataType 859 861: UInt32 ServerViewCount, UInt32 CurrentSessionCount, UInt32
  CumulatedSessionCount, UInt32 SecurityRejectedSessionCount, UInt32 RejectedSessionCount, UInt32
  SessionTimeoutCount, UInt32 SessionAbortCount, UInt32 CurrentSubscriptionCount, UInt32
  CumulatedSubscriptionCount, UInt32 PublishingIntervalCount, UInt32 SecurityRejectedRequestsCount, UInt32
  RejectedRequestsCount
StatusResult 299 301: StatusCode StatusCode, DiagnosticInfo DiagnosticInfo
Annotation 891 893: String Message, String UserName, DateTime AnnotationTime
"""


class StandardStructure(NamedTuple):
    """A row of the table."""

    name: str
    id: int
    encoding: int
    fields: tuple[tuple[str, int, bool], ...]  # name, data type, whether an array


@cache
def structures() -> tuple[StandardStructure, ...]:
    """The table."""
    rows = [row.partition(": ") for row in _TEXTS.replace("\n  ", " ").strip().splitlines()]
    heads = [head.split() for head, _, _ in rows]
    ids = {**BUILT_IN, **ENUMERATIONS, **{name: int(id) for name, id, _ in heads}}
    structures = []
    for (name, id, encoding), (_, _, fields) in zip(heads, rows, strict=True):
        pairs = [field.split() for field in fields.split(", ")]
        of = tuple((field, ids[type.removesuffix("[]")], type.endswith("[]")) for type, field in pairs)
        structures.append(StandardStructure(name, int(id), int(encoding), of))
    return tuple(structures)
