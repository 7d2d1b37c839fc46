/* An OPC UA server on open62541 with the same machine as node_opcua/server.mjs.
 *
 *     server PORT FOLDER KEY=VALUE ...
 *
 * FOLDER keeps its certificate. Keys: anonymous (0/1), before (a namespace URI to come before ours; may be repeated),
 * tick_ms, count_ms, count_from, ledger (a file), sampling_ms (the shortest), max_sessions, max_read, max_monitor,
 * max_publish, max_queue, max_subscriptions, channel_ms (lifetime of a channel).
 * It takes commands as lines on its input, words between tabs, answers each with a line of JSON, and ends with its parent.
 */
#include <fcntl.h>
#include <open62541/plugin/accesscontrol_default.h>
#include <open62541/plugin/create_certificate.h>
#include <open62541/plugin/log_stdout.h>
#include <open62541/plugin/pki_default.h>
#include <open62541/server.h>
#include <open62541/server_config_default.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define URI "urn:shop:cnc"
#define MOST 64 /* sessions, and namespaces before ours */

static UA_Server *server;
static volatile UA_Boolean running = true;
static UA_UInt16 shop; /* the index of our namespace */
static const char *before[MOST];
static size_t befores;
static long tick_ms = 100, count_ms, count_from = 1, channel_ms;
static long sampling_ms, max_sessions, max_read, max_monitor, max_publish, max_queue, max_subscriptions;
static int anonymous = 1, ledger = -1;

static void check(UA_StatusCode code, const char *what) {
    if(code == UA_STATUSCODE_GOOD)
        return;
    fprintf(stderr, "%s: %s\n", what, UA_StatusCode_name(code));
    exit(1);
}

/* ---- sessions: the server tells who comes and goes */

static UA_NodeId sessions[MOST];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static UA_StatusCode (*activate)(UA_Server *, UA_AccessControl *, const UA_EndpointDescription *, const UA_ByteString *,
                                 const UA_NodeId *, const UA_ExtensionObject *, void **);
static void (*closed)(UA_Server *, UA_AccessControl *, const UA_NodeId *, void *);

static void remember(const UA_NodeId *id, const UA_NodeId *instead) {
    pthread_mutex_lock(&lock);
    for(size_t i = 0; i < MOST; i++)
        if(UA_NodeId_equal(&sessions[i], id)) {
            UA_NodeId_clear(&sessions[i]);
            UA_NodeId_copy(instead, &sessions[i]);
            break;
        }
    pthread_mutex_unlock(&lock);
}

static UA_StatusCode activated(UA_Server *s, UA_AccessControl *ac, const UA_EndpointDescription *endpoint,
                               const UA_ByteString *certificate, const UA_NodeId *id, const UA_ExtensionObject *token,
                               void **context) {
    UA_StatusCode code = activate(s, ac, endpoint, certificate, id, token, context);
    if(code == UA_STATUSCODE_GOOD) {
        remember(id, &UA_NODEID_NULL); /* it comes again when it is taken over on another channel */
        remember(&UA_NODEID_NULL, id);
    }
    return code;
}

static void gone(UA_Server *s, UA_AccessControl *ac, const UA_NodeId *id, void *context) {
    remember(id, &UA_NODEID_NULL);
    closed(s, ac, id, context);
}

static void kill_sessions(void) {
    UA_NodeId all[MOST];
    pthread_mutex_lock(&lock);
    for(size_t i = 0; i < MOST; i++)
        UA_NodeId_copy(&sessions[i], &all[i]);
    pthread_mutex_unlock(&lock);
    for(size_t i = 0; i < MOST; i++) {
        if(!UA_NodeId_isNull(&all[i]))
            UA_Server_closeSession(server, &all[i]);
        UA_NodeId_clear(&all[i]);
    }
}

static unsigned subscriptions(void) {
    UA_Variant value;
    UA_UInt32 count = 0;
    UA_NodeId id = UA_NODEID_NUMERIC(0, UA_NS0ID_SERVER_SERVERDIAGNOSTICS_SERVERDIAGNOSTICSSUMMARY_CURRENTSUBSCRIPTIONCOUNT);
    if(UA_Server_readValue(server, id, &value) == UA_STATUSCODE_GOOD) {
        if(value.type == &UA_TYPES[UA_TYPES_UINT32])
            count = *(UA_UInt32 *)value.data;
        UA_Variant_clear(&value);
    }
    return count;
}

/* ---- variables: values are given as the JSON of OPC UA (Part 6, 5.4) */

static const UA_DataType *type_named(const char *name) {
    for(size_t i = 0; i < UA_TYPES_COUNT; i++)
        if(!strcmp(UA_TYPES[i].typeName, name))
            return &UA_TYPES[i];
    return NULL;
}

/* A scalar, or an array where the text begins with a bracket. */
static UA_StatusCode parsed(UA_Variant *value, const UA_DataType *type, char *text) {
    char *items[256], *at = text + 1;
    size_t count = 0;
    UA_Variant_init(value);
    if(*text != '[') {
        UA_ByteString json = UA_BYTESTRING(text);
        void *one = UA_new(type);
        UA_StatusCode code = UA_decodeJson(&json, one, type, NULL);
        if(code == UA_STATUSCODE_GOOD)
            UA_Variant_setScalar(value, one, type);
        else
            UA_delete(one, type);
        return code;
    }
    text[strlen(text) - 1] = 0;
    while(count < 256 && (items[count] = strtok_r(NULL, ",", &at)))
        count++;
    char *all = (char *)UA_Array_new(count, type);
    UA_StatusCode code = UA_STATUSCODE_GOOD;
    for(size_t i = 0; i < count && code == UA_STATUSCODE_GOOD; i++) {
        UA_ByteString json = UA_BYTESTRING(items[i]);
        code = UA_decodeJson(&json, all + i * type->memSize, type, NULL);
    }
    if(code == UA_STATUSCODE_GOOD)
        UA_Variant_setArray(value, all, count, type);
    else
        UA_Array_delete(all, count, type);
    return code;
}

static UA_NodeId node_named(const char *text) {
    UA_NodeId id = UA_NODEID_NULL;
    UA_NodeId_parse(&id, UA_STRING((char *)(uintptr_t)text));
    id.namespaceIndex = shop;
    return id;
}

static UA_DateTime nanoseconds(long long ns) { return ns / 100 + UA_DATETIME_UNIX_EPOCH; }

static UA_StatusCode put(const char *node, UA_Variant *value, UA_StatusCode status, UA_DateTime time) {
    UA_DataValue data;
    UA_DataValue_init(&data);
    data.hasValue = data.hasStatus = data.hasSourceTimestamp = true;
    data.value = *value;
    data.status = status;
    data.sourceTimestamp = time;
    UA_NodeId id = node_named(node);
    UA_StatusCode code = UA_Server_writeDataValue(server, id, data);
    UA_NodeId_clear(&id);
    return code;
}

static UA_StatusCode last(const char *node, UA_Variant *value) {
    UA_ReadValueId what;
    UA_ReadValueId_init(&what);
    what.nodeId = node_named(node);
    what.attributeId = UA_ATTRIBUTEID_VALUE;
    UA_DataValue data = UA_Server_read(server, &what, UA_TIMESTAMPSTORETURN_NEITHER);
    UA_NodeId_clear(&what.nodeId);
    *value = data.value;
    return data.hasValue ? UA_STATUSCODE_GOOD : UA_STATUSCODE_BADNODEIDUNKNOWN;
}

static UA_NodeId machine;

static UA_StatusCode add(const char *node, const UA_DataType *type, UA_Variant *value, const UA_NodeId *declared,
                         int with_unit) {
    const char *name = strstr(node, "CNC1.") ? strstr(node, "CNC1.") + 5 : node + 2;
    UA_VariableAttributes attributes = UA_VariableAttributes_default;
    attributes.displayName = UA_LOCALIZEDTEXT("", (char *)(uintptr_t)name);
    attributes.accessLevel = UA_ACCESSLEVELMASK_READ | UA_ACCESSLEVELMASK_WRITE;
    attributes.dataType = declared ? *declared : type->typeId;
    attributes.valueRank = UA_Variant_isScalar(value) ? UA_VALUERANK_SCALAR : UA_VALUERANK_ONE_DIMENSION;
    UA_UInt32 any = 0;
    if(!UA_Variant_isScalar(value)) {
        attributes.arrayDimensions = &any;
        attributes.arrayDimensionsSize = 1;
    }
    attributes.value = *value;
    UA_NodeId id = node_named(node);
    UA_StatusCode code = UA_Server_addVariableNode(
        server, id, machine, UA_NODEID_NUMERIC(0, UA_NS0ID_HASCOMPONENT),
        UA_QUALIFIEDNAME(shop, (char *)(uintptr_t)name),
        UA_NODEID_NUMERIC(0, with_unit ? UA_NS0ID_ANALOGITEMTYPE : UA_NS0ID_BASEDATAVARIABLETYPE), attributes, NULL, NULL);
    UA_NodeId_clear(&id);
    return code;
}

static void add_json(const char *node, const char *type, const char *json, const UA_NodeId *declared, int with_unit,
                     UA_StatusCode status, UA_DateTime time) {
    UA_Variant value;
    char text[1024];
    snprintf(text, sizeof text, "%s", json);
    check(parsed(&value, type_named(type), text), node);
    check(add(node, type_named(type), &value, declared, with_unit), node);
    check(put(node, &value, status, time), node);
    UA_Variant_clear(&value);
}

/* The two properties of an AnalogItemType (Part 8, 5.3.2). */
static void measured_in(const char *node, int code, const char *text, double low, double high) {
    UA_NodeId id = node_named(node);
    UA_Range range = {low, high};
    UA_Variant value;
    UA_Variant_setScalar(&value, &range, &UA_TYPES[UA_TYPES_RANGE]);
    check(UA_Server_writeObjectProperty(server, id, UA_QUALIFIEDNAME(0, "EURange"), value), "EURange");
    UA_EUInformation unit;
    UA_EUInformation_init(&unit);
    unit.namespaceUri = UA_STRING("http://www.opcfoundation.org/UA/units/un/cefact");
    unit.unitId = code;
    unit.displayName = UA_LOCALIZEDTEXT("", (char *)(uintptr_t)text);
    UA_VariableAttributes attributes = UA_VariableAttributes_default;
    attributes.dataType = UA_TYPES[UA_TYPES_EUINFORMATION].typeId;
    attributes.valueRank = UA_VALUERANK_SCALAR;
    UA_Variant_setScalar(&attributes.value, &unit, &UA_TYPES[UA_TYPES_EUINFORMATION]);
    check(UA_Server_addVariableNode(server, UA_NODEID_NULL, id, UA_NODEID_NUMERIC(0, UA_NS0ID_HASPROPERTY),
                                    UA_QUALIFIEDNAME(0, "EngineeringUnits"), UA_NODEID_NUMERIC(0, UA_NS0ID_PROPERTYTYPE),
                                    attributes, NULL, NULL),
          "EngineeringUnits");
    UA_NodeId_clear(&id);
}

static void add_all(void) {
    for(size_t i = 0; i < befores; i++) { /* whoever keeps our old index gets this */
        UA_UInt16 index = UA_Server_addNamespace(server, before[i]);
        UA_VariableAttributes other = UA_VariableAttributes_default;
        UA_Double wrong = -1;
        UA_Variant_setScalar(&other.value, &wrong, &UA_TYPES[UA_TYPES_DOUBLE]);
        other.dataType = UA_TYPES[UA_TYPES_DOUBLE].typeId;
        check(UA_Server_addVariableNode(server, UA_NODEID_STRING(index, "CNC1.SpindleSpeed"),
                                        UA_NODEID_NUMERIC(0, UA_NS0ID_OBJECTSFOLDER),
                                        UA_NODEID_NUMERIC(0, UA_NS0ID_ORGANIZES), UA_QUALIFIEDNAME(index, "SpindleSpeed"),
                                        UA_NODEID_NUMERIC(0, UA_NS0ID_BASEDATAVARIABLETYPE), other, NULL, NULL),
              before[i]);
    }
    shop = UA_Server_addNamespace(server, URI);
    machine = UA_NODEID_STRING(shop, "CNC1");
    UA_ObjectAttributes object = UA_ObjectAttributes_default;
    check(UA_Server_addObjectNode(server, machine, UA_NODEID_NUMERIC(0, UA_NS0ID_OBJECTSFOLDER),
                                  UA_NODEID_NUMERIC(0, UA_NS0ID_ORGANIZES), UA_QUALIFIEDNAME(shop, "CNC1"),
                                  UA_NODEID_NUMERIC(0, UA_NS0ID_BASEOBJECTTYPE), object, NULL, NULL),
          "CNC1");
    UA_DateTime now = UA_DateTime_now();
    add_json("s=CNC1.SpindleSpeed", "Double", "0", NULL, 1, 0, now);
    measured_in("s=CNC1.SpindleSpeed", 5394509, "r/min", 0, 12000);
    add_json("s=CNC1.CoolantTemperature", "Float", "21.5", NULL, 1, 0, now);
    measured_in("s=CNC1.CoolantTemperature", 4408652, "°C", -20, 120);
    add_json("s=CNC1.PartCount", "UInt32", "0", NULL, 0, 0, now);
    add_json("s=CNC1.Program", "String", "\"O1234 \\\"façade\\\" №5\"", NULL, 0, 0, now);
    add_json("s=CNC1.DoorOpen", "Boolean", "false", NULL, 0, 0, now);
    UA_NodeId modes = UA_NODEID_NUMERIC(0, UA_NS0ID_SERVERSTATE); /* an enumeration of its own it will not check against */
    add_json("s=CNC1.Mode", "Int32", "3", &modes, 0, 0, now);
    add_json("s=CNC1.Int64Min", "Int64", "\"-9223372036854775808\"", NULL, 0, 0, now);
    add_json("s=CNC1.Int64Max", "Int64", "\"9223372036854775807\"", NULL, 0, 0, now);
    add_json("s=CNC1.UInt64Max", "UInt64", "\"18446744073709551615\"", NULL, 0, 0, now);
    add_json("s=CNC1.Broken", "Double", "42", NULL, 0, UA_STATUSCODE_BADSENSORFAILURE, now);
    add_json("s=CNC1.Doubtful", "Double", "17.5", NULL, 0, UA_STATUSCODE_UNCERTAINLASTUSABLEVALUE, now);
    add_json("s=CNC1.LastService", "DateTime", "\"2024-02-29T06:30:00.250Z\"", NULL, 0, 0, now);
    add_json("s=CNC1.SerialNumber", "String", "\"SN-4711\"", NULL, 0, 0, nanoseconds(1083827289125000000LL));
    add_json("s=CNC1.AxisPositions", "Double", "[1.5,-2.25,300]", NULL, 0, 0, now);
}

/* ---- what changes: SpindleSpeed and PartCount as in server.mjs; Count is one more every count_ms, and written down */

static long ticks;

static void tick(UA_Server *s, void *data) {
    (void)s, (void)data;
    ticks++;
    UA_Variant value;
    UA_Double speed = (UA_Double)(ticks % 4000) / 4;
    UA_UInt32 parts = (UA_UInt32)(ticks / 10);
    UA_Variant_setScalar(&value, &speed, &UA_TYPES[UA_TYPES_DOUBLE]);
    put("s=CNC1.SpindleSpeed", &value, 0, UA_DateTime_now());
    UA_Variant_setScalar(&value, &parts, &UA_TYPES[UA_TYPES_UINT32]);
    put("s=CNC1.PartCount", &value, 0, UA_DateTime_now());
}

static void count(UA_Server *s, void *data) {
    static UA_Int64 number;
    (void)s, (void)data;
    number = number ? number + 1 : count_from;
    UA_DateTime now = UA_DateTime_now();
    if(ledger >= 0) {
        char line[64];
        int length = snprintf(line, sizeof line, "%lld %lld\n", (long long)number,
                              (long long)(now - UA_DATETIME_UNIX_EPOCH) * 100);
        if(write(ledger, line, (size_t)length) != length)
            exit(1);
    }
    UA_Variant value;
    UA_Variant_setScalar(&value, &number, &UA_TYPES[UA_TYPES_INT64]);
    put("s=CNC1.Count", &value, 0, now);
}

/* ---- commands */

static void answer(char *line) {
    char *rest = line, *command = strtok_r(line, "\t\n", &rest), *words[5] = {0};
    for(size_t i = 0; i < 5 && (words[i] = strtok_r(NULL, "\t\n", &rest)); i++)
        ;
    UA_StatusCode code = UA_STATUSCODE_GOOD;
    unsigned result = 0;
    if(!command)
        code = UA_STATUSCODE_BADNOTIMPLEMENTED;
    else if(!strcmp(command, "sessions"))
        result = (unsigned)UA_Server_getStatistics(server).ss.currentSessionCount;
    else if(!strcmp(command, "subscriptions"))
        result = subscriptions();
    else if(!strcmp(command, "kill_sessions"))
        kill_sessions();
    else if(!strcmp(command, "tick"))
        tick(server, NULL);
    else if(!strcmp(command, "remove")) {
        UA_NodeId id = node_named(words[0]);
        code = UA_Server_deleteNode(server, id, true);
        UA_NodeId_clear(&id);
    } else if(!strcmp(command, "set") || !strcmp(command, "add")) { /* node, type, value, status, ns since 1970 */
        UA_Variant value;
        const UA_DataType *type = type_named(words[1]);
        if(!strcmp(words[2], "keep"))
            code = last(words[0], &value);
        else
            code = type ? parsed(&value, type, words[2]) : UA_STATUSCODE_BADTYPEMISMATCH;
        if(code == UA_STATUSCODE_GOOD) {
            if(*command == 'a')
                code = add(words[0], type, &value, NULL, 0);
            if(code == UA_STATUSCODE_GOOD)
                code = put(words[0], &value, (UA_StatusCode)strtoul(words[3], NULL, 0), nanoseconds(atoll(words[4])));
            UA_Variant_clear(&value);
        }
    } else
        code = UA_STATUSCODE_BADNOTIMPLEMENTED;
    if(code == UA_STATUSCODE_GOOD)
        printf("{\"result\": %u}\n", result);
    else
        printf("{\"error\": \"%s\"}\n", UA_StatusCode_name(code));
    fflush(stdout);
}

static void *listen_to_commands(void *nothing) {
    char line[65536];
    while(fgets(line, sizeof line, stdin))
        answer(line);
    running = false;
    return nothing;
}

/* ---- start */

static void end(int number) {
    (void)number;
    running = false;
}

static UA_ByteString contents(const char *folder, const char *name) {
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    UA_ByteString found = UA_BYTESTRING_NULL;
    FILE *file = fopen(path, "rb");
    if(!file)
        return found;
    UA_ByteString_allocBuffer(&found, 65536);
    found.length = fread(found.data, 1, 65536, file);
    fclose(file);
    return found;
}

static void keep(const char *folder, const char *name, UA_ByteString what) {
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    if(!file || fwrite(what.data, 1, what.length, file) != what.length || fclose(file))
        exit(1);
}

static void understand(char *option) {
    struct {
        const char *key;
        long *number;
    } numbers[] = {{"tick_ms", &tick_ms},         {"count_ms", &count_ms},         {"count_from", &count_from},
                   {"sampling_ms", &sampling_ms}, {"max_sessions", &max_sessions}, {"max_read", &max_read},
                   {"max_monitor", &max_monitor}, {"max_publish", &max_publish},   {"max_queue", &max_queue},
                   {"channel_ms", &channel_ms},   {"max_subscriptions", &max_subscriptions}};
    char *value = strchr(option, '=');
    if(!value) {
        fprintf(stderr, "no such option: %s\n", option);
        exit(2);
    }
    *value++ = 0;
    for(size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if(!strcmp(option, numbers[i].key)) {
            *numbers[i].number = atol(value);
            return;
        }
    if(!strcmp(option, "anonymous"))
        anonymous = atoi(value);
    else if(!strcmp(option, "before") && befores < MOST)
        before[befores++] = value;
    else if(!strcmp(option, "ledger"))
        ledger = open(value, O_WRONLY | O_APPEND | O_CREAT, 0644);
    else {
        fprintf(stderr, "no such option: %s\n", option);
        exit(2);
    }
}

int main(int argc, char **argv) {
    if(argc < 3)
        return 2;
    const char *folder = argv[2];
    for(int i = 3; i < argc; i++)
        understand(argv[i]);
    signal(SIGTERM, end);

    UA_ByteString key = contents(folder, "key.der"), certificate = contents(folder, "certificate.der");
    if(!key.length || !certificate.length) {
        UA_String subject[] = {UA_STRING_STATIC("C=DE"), UA_STRING_STATIC("O=Shop"), UA_STRING_STATIC("CN=CNC")};
        UA_String names[] = {UA_STRING_STATIC("IP:127.0.0.1"), UA_STRING_STATIC("DNS:localhost"),
                             UA_STRING_STATIC("URI:urn:shop:open62541")};
        UA_UInt16 bits = 2048;
        UA_KeyValueMap *how = UA_KeyValueMap_new();
        UA_KeyValueMap_setScalar(how, UA_QUALIFIEDNAME(0, "key-size-bits"), &bits, &UA_TYPES[UA_TYPES_UINT16]);
        check(UA_CreateCertificate(UA_Log_Stdout, subject, 3, names, 3, UA_CERTIFICATEFORMAT_DER, how, &key, &certificate),
              "certificate");
        UA_KeyValueMap_delete(how);
        keep(folder, "key.der", key);
        keep(folder, "certificate.der", certificate);
    }

    UA_ServerConfig config;
    memset(&config, 0, sizeof config);
    config.logging = UA_Log_Stdout_new(UA_LOGLEVEL_FATAL); /* its output is for answers */
    check(UA_ServerConfig_setDefaultWithSecurityPolicies(&config, (UA_UInt16)atoi(argv[1]), &certificate, &key, NULL, 0,
                                                         NULL, 0, NULL, 0),
          "configuration");
    UA_CertificateVerification_AcceptAll(&config.secureChannelPKI);
    UA_CertificateVerification_AcceptAll(&config.sessionPKI);
    UA_String_clear(&config.applicationDescription.applicationUri);
    config.applicationDescription.applicationUri = UA_STRING_ALLOC("urn:shop:open62541");
    UA_UsernamePasswordLogin users[] = {{UA_STRING_STATIC("operator"), UA_STRING_STATIC("op-secret")}};
    check(UA_AccessControl_default(&config, anonymous, NULL, 1, users), "users");
    activate = config.accessControl.activateSession;
    closed = config.accessControl.closeSession;
    config.accessControl.activateSession = activated;
    config.accessControl.closeSession = gone;
    for(size_t i = 0; i < config.endpointsSize; i++) {
        UA_String_clear(&config.endpoints[i].server.applicationUri);
        UA_String_copy(&config.applicationDescription.applicationUri, &config.endpoints[i].server.applicationUri);
    }

    if(sampling_ms) config.samplingIntervalLimits.min = (UA_Double)sampling_ms;
    config.publishingIntervalLimits.min = 10;
    if(max_sessions) config.maxSessions = (UA_UInt16)max_sessions;
    if(max_read) config.maxNodesPerRead = (UA_UInt32)max_read;
    if(max_monitor) config.maxMonitoredItemsPerCall = (UA_UInt32)max_monitor;
    if(max_publish) config.maxPublishReqPerSession = (UA_UInt32)max_publish;
    config.queueSizeLimits.max = max_queue ? (UA_UInt32)max_queue : 10000;
    if(max_subscriptions) config.maxSubscriptions = (UA_UInt32)max_subscriptions;
    if(channel_ms) config.maxSecurityTokenLifetime = (UA_UInt32)channel_ms;

    server = UA_Server_newWithConfig(&config);
    if(!server)
        return 1;
    add_all();
    check(UA_Server_run_startup(server), "start");
    UA_UInt64 id;
    if(tick_ms)
        UA_Server_addRepeatedCallback(server, tick, NULL, (UA_Double)tick_ms, &id);
    if(count_ms) {
        add_json("s=CNC1.Count", "Int64", "0", NULL, 0, UA_STATUSCODE_BADWAITINGFORINITIALDATA, UA_DateTime_now());
        count(server, NULL);
        UA_Server_addRepeatedCallback(server, count, NULL, (UA_Double)count_ms, &id);
    }
    pthread_t listener;
    pthread_create(&listener, NULL, listen_to_commands, NULL);
    printf("{\"ready\": true}\n");
    fflush(stdout);
    while(running)
        UA_Server_run_iterate(server, true);
    UA_Server_run_shutdown(server);
    UA_Server_delete(server);
    return 0;
}
