/*
 * The engine's side of chat templates: values in, marked text out.
 *
 * A template is a program from whoever made the model file, and the engine limits neither its time nor its memory, nor how deep
 * it recurses. So it runs in a process of its own (util/child.h), whose limits hold for whatever a template can think of; this
 * process never reads the Jinja text.
 *
 * Only the interpreter is used (jinja/), not common/chat.h: that rewrites messages and templates for the sake of tool calls, and
 * the aim here is the text that transformers makes of the same messages. The interpreter keeps apart what came from a message
 * and what the template wrote (its "input marking"), which is how a control token that a message spells stays text.
 */
#include "core/chat_template.h"

extern "C" {
#include "util/child.h"
#include "util/error.h"
}

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <jinja/lexer.h>
#include <jinja/parser.h>
#include <jinja/runtime.h>
#include <jinja/value.h>
#include <memory>
#include <new>
#include <string>
#include <vector>

namespace
{

/* Above any real template: the longest known has 30 kB. */
constexpr size_t source_bytes_max = (size_t)64 << 10;

/* What a rendering may take: many times what real ones do, for short messages and for long ones. */
constexpr size_t memory_bytes_max = (size_t)512 << 20;
constexpr size_t memory_per_byte_max = 64;

/* Stand-ins for messages when a template is tried: users cannot mean these control bytes, and no trim() takes them. */
const char system_mark[] = "\x01\x02system\x03\x01";
const char user_mark[] = "\x01\x02user\x03\x01";

struct said {
    const char *role;
    const char *content;
};

/* The engine's message for a failure is a page with a piece of source; its last line says what went wrong. */
std::string reason_of(const std::exception &e, bool *is_refusal)
{
    std::string text = e.what();
    for (const char *mark : {"Error: ", "Jinja Exception: "}) {
        const size_t at = text.rfind(mark);
        if (at != std::string::npos) {
            text.erase(0, at + std::strlen(mark));
            *is_refusal = *is_refusal || mark[0] == 'J';
        }
    }
    text.erase(0, text.find_first_not_of(" \n"));
    text.erase(text.find('\n') == std::string::npos ? text.size() : text.find('\n'));
    for (char &c : text) {
        c = (unsigned char)c < 0x20 || c == 0x7F ? ' ' : c;
    }
    return text;
}

} // namespace

struct cs_chat_template {
    std::string source;
    std::string name;
    std::string bos;
    std::string eos;
    bool has_typed_content = false; /* content as a list of parts, for templates that take no string */
    bool has_system_role = false;
    std::string default_system;
    std::string literals; /* those in its source, a NUL after each */
};

namespace
{

/* ---- in the child ------------------------------------------------------------------------------------------------ */

/* A template's text as the engine reads it. */
struct parsed {
    std::string source;
    std::string literals;
    jinja::program program;
};

parsed parse(const cs_chat_template &self)
{
    jinja::lexer lexer;
    const jinja::lexer_result tokens = lexer.tokenize(self.source);
    std::string literals;
    for (const jinja::token &token : tokens.tokens) {
        if (token.t == jinja::token::string_literal && token.value.find('\0') == std::string::npos) {
            literals.append(token.value).push_back('\0');
        }
    }
    return {tokens.source, literals, jinja::parse_from_tokens(tokens)};
}

jinja::value make_message(const cs_chat_template &self, const said &message)
{
    auto out = jinja::mk_val<jinja::value_object>();
    out->insert("role", jinja::mk_val<jinja::value_string>(std::string(message.role)));
    auto content = jinja::mk_val<jinja::value_string>(jinja::string(message.content, true));
    if (!self.has_typed_content) {
        out->insert("content", content);
        return out;
    }
    auto part = jinja::mk_val<jinja::value_object>();
    part->insert("type", jinja::mk_val<jinja::value_string>(std::string("text")));
    part->insert("text", content);
    auto parts = jinja::mk_val<jinja::value_array>();
    parts->push_back(part);
    out->insert("content", parts);
    return out;
}

std::vector<jinja::string_part> run(const cs_chat_template &self, const parsed &form, const std::vector<said> &messages,
                                    bool thinking)
{
    jinja::context context(form.source);
    auto list = jinja::mk_val<jinja::value_array>();
    for (const said &message : messages) {
        list->push_back(make_message(self, message));
    }
    context.set_val("messages", list);
    context.set_val("tools", jinja::mk_val<jinja::value_none>());
    context.set_val("documents", jinja::mk_val<jinja::value_none>());
    context.set_val("add_generation_prompt", jinja::mk_val<jinja::value_bool>(true));
    context.set_val("bos_token", jinja::mk_val<jinja::value_string>(self.bos));
    context.set_val("eos_token", jinja::mk_val<jinja::value_string>(self.eos));
    context.set_val("enable_thinking", jinja::mk_val<jinja::value_bool>(thinking));
    context.set_val("thinking", jinja::mk_val<jinja::value_bool>(thinking));
    context.set_val("thinking_mode", jinja::mk_val<jinja::value_string>(std::string(thinking ? "enabled" : "disabled")));
    jinja::runtime runtime(context);
    return jinja::runtime::gather_string_parts(runtime.execute(form.program))->val_str.parts;
}

/* As run(), as one text; false when the template fails on it. */
bool try_run(const cs_chat_template &self, const parsed &form, const std::vector<said> &messages, std::string *out)
{
    out->clear();
    try {
        for (const jinja::string_part &part : run(self, form, messages, false)) {
            *out += part.val;
        }
        return true;
    } catch (const std::exception &) {
        return false;
    }
}

bool has(const std::string &text, const char *mark)
{
    return text.find(mark) != std::string::npos;
}

/* What stands in `plain` where `given` has a system message of the caller's: what is left between their common ends. */
std::string difference(const std::string &plain, const std::string &given)
{
    size_t begin = 0;
    while (begin < plain.size() && begin < given.size() && plain[begin] == given[begin]) {
        begin++;
    }
    size_t end = 0;
    while (end < plain.size() - begin && end < given.size() && plain[plain.size() - 1 - end] == given[given.size() - 1 - end]) {
        end++;
    }
    const std::string middle = plain.substr(begin, plain.size() - begin - end);
    const size_t first = middle.find_first_not_of(" \t\r\n");
    return first == std::string::npos ? "" : middle.substr(first, middle.find_last_not_of(" \t\r\n") + 1 - first);
}

void find_traits(cs_chat_template *self, const parsed &form)
{
    std::string plain;
    std::string given;
    if (!try_run(*self, form, {{"user", user_mark}}, &plain) || !has(plain, user_mark)) {
        self->has_typed_content = true;
        self->has_typed_content = try_run(*self, form, {{"user", user_mark}}, &given) && has(given, user_mark);
        plain = self->has_typed_content ? given : plain;
    }
    self->has_system_role =
        try_run(*self, form, {{"system", system_mark}, {"user", user_mark}}, &given) && has(given, system_mark);
    if (self->has_system_role && has(plain, user_mark)) {
        self->default_system = difference(plain, given);
    }
}

/* ---- from the child to the parent -------------------------------------------------------------------------------- */

/* What a child sends first. A failure's reason follows, or what was asked for. */
enum outcome : char { done = 'd', unreadable = 'u', refused = 'r', failed = 'f', out_of_memory = 'm' };

bool append(cs_buffer *out, const std::string &text)
{
    return cs_buffer_append(out, text.data(), text.size());
}

bool report(const std::exception &e, outcome what, cs_buffer *out)
{
    bool is_refusal = false;
    const std::string reason = reason_of(e, &is_refusal);
    what = is_refusal ? refused : what;
    what = has(reason, "bad_alloc") ? out_of_memory : what; /* the engine wraps it as it does any other */
    out->n_bytes = 0;
    return append(out, std::string(1, what) + reason);
}

/* A request is texts, each with its NUL: two flags, the template's source, bos and eos, then role and content of every message.
 */
struct asked {
    cs_chat_template self;
    bool thinking = false;
    std::vector<said> messages;
};

std::string write_request(const cs_chat_template &self, const costeer_message *messages, size_t n, bool thinking)
{
    std::string request = {self.has_typed_content ? '1' : '0', thinking ? '1' : '0', '\0'};
    for (const std::string *text : {&self.source, &self.bos, &self.eos}) {
        request.append(*text).push_back('\0');
    }
    for (size_t i = 0; i < n; i++) {
        request.append(messages[i].role).push_back('\0');
        request.append(messages[i].content).push_back('\0');
    }
    return request;
}

asked read_request(const char *request, size_t n)
{
    std::vector<const char *> texts;
    for (const char *at = request; at < request + n; at += std::strlen(at) + 1) {
        texts.push_back(at);
    }
    asked out;
    out.self.has_typed_content = texts.at(0)[0] == '1';
    out.thinking = texts[0][1] == '1';
    out.self.source = texts.at(1);
    out.self.bos = texts.at(2);
    out.self.eos = texts.at(3);
    for (size_t i = 4; i + 1 < texts.size(); i += 2) {
        out.messages.push_back({texts[i], texts[i + 1]});
    }
    return out;
}

/* A template that is tried. The child sends the two flags, the system message with a NUL, and the literals. */
bool try_in_child(const char *request, size_t n, cs_buffer *out)
{
    try {
        cs_chat_template self = read_request(request, n).self;
        const parsed form = parse(self);
        find_traits(&self, form);
        self.default_system.erase(std::min(self.default_system.find('\0'), self.default_system.size()));
        return append(out, {done, self.has_typed_content ? '1' : '0', self.has_system_role ? '1' : '0'}) &&
               append(out, self.default_system + '\0' + form.literals);
    } catch (const std::exception &e) {
        return report(e, unreadable, out);
    }
}

/* A conversation that is rendered. The child sends the parts: a cs_chat_part and its bytes, each. */
bool render_in_child(const char *request, size_t n, cs_buffer *out)
{
    try {
        const asked what = read_request(request, n);
        bool ok = append(out, std::string(1, done));
        for (const jinja::string_part &part : run(what.self, parse(what.self), what.messages, what.thinking)) {
            cs_chat_part head;
            std::memset(&head, 0, sizeof head); /* padding too */
            head.n_bytes = part.val.size();
            head.is_input = part.is_input;
            ok = ok && cs_buffer_append(out, (const char *)&head, sizeof head) && append(out, part.val);
        }
        return ok;
    } catch (const std::exception &e) {
        return report(e, failed, out);
    }
}

/* ---- in the parent ----------------------------------------------------------------------------------------------- */

costeer_err no_memory(costeer_error *err)
{
    return cs_error_set(err, COSTEER_ENOMEM, "prompt", "no memory for a chat template");
}

/* Do one of these in a child; on COSTEER_OK, `out` is what follows the outcome. */
costeer_err run_child(cs_child_work *work, const std::string &request, const std::string &name, cs_buffer *out,
                      costeer_error *err)
{
    const size_t memory = memory_bytes_max + memory_per_byte_max * request.size();
    out->cap = memory;
    const cs_child_end end = cs_child_run(work, request.data(), request.size(), memory, out);
    if (end == CS_CHILD_NONE) {
        return cs_error_set(err, COSTEER_ENOMEM, "prompt", "the system gives no process to run a chat template in");
    }
    if (end == CS_CHILD_STOPPED || out->bytes[0] == out_of_memory) {
        return cs_error_set(
            err, COSTEER_EMODEL, "prompt",
            "%s: its chat template was stopped: it runs without end, takes too much memory or crashes; name another for "
            "this model, or raw for none",
            name.c_str());
    }
    const char *reason = out->bytes + 1;
    switch (out->bytes[0]) {
    case done:
        return COSTEER_OK;
    case unreadable:
        return cs_error_set(err, COSTEER_EMODEL, "prompt",
                            "%s: has a chat template that cannot be read (%.120s); name another for this model, or raw for none",
                            name.c_str(), reason);
    case refused:
        return cs_error_set(err, COSTEER_EINVAL, "prompt", "%s: its chat template refuses the messages: %.160s", name.c_str(),
                            reason);
    default:
        return cs_error_set(err, COSTEER_EMODEL, "prompt",
                            "%s: its chat template fails (%.120s); name another for this model, or raw for none", name.c_str(),
                            reason);
    }
}

} // namespace

costeer_err cs_chat_template_create(const char *source, const char *name, const char *bos, const char *eos,
                                    cs_chat_template **out, costeer_error *err)
{
    *out = nullptr;
    if (std::strlen(source) > source_bytes_max) {
        return cs_error_set(err, COSTEER_EMODEL, "prompt", "%s: its chat template is longer than %zu bytes", name,
                            source_bytes_max);
    }
    cs_buffer found = {};
    try {
        auto self = std::make_unique<cs_chat_template>();
        self->source = source;
        self->name = name;
        self->bos = bos;
        self->eos = eos;
        const costeer_err code = run_child(try_in_child, write_request(*self, nullptr, 0, false), name, &found, err);
        if (code == COSTEER_OK) {
            self->has_typed_content = found.bytes[1] == '1';
            self->has_system_role = found.bytes[2] == '1';
            self->default_system = found.bytes + 3;
            const size_t at = 3 + self->default_system.size() + 1;
            self->literals.assign(found.bytes + at, found.n_bytes > at ? found.n_bytes - at : 0);
            *out = self.release();
        }
        cs_buffer_dispose(&found);
        return code;
    } catch (const std::bad_alloc &) {
        cs_buffer_dispose(&found);
        return no_memory(err);
    }
}

void cs_chat_template_free(cs_chat_template *self)
{
    delete self;
}

cs_chat_traits cs_chat_template_traits(const cs_chat_template *self)
{
    return {self->has_system_role, self->default_system.empty() ? nullptr : self->default_system.c_str()};
}

const char *cs_chat_template_literals(const cs_chat_template *self, size_t *n_bytes)
{
    *n_bytes = self->literals.size();
    return self->literals.c_str();
}

/* ---- renderings -------------------------------------------------------------------------------------------------- */

void cs_chat_rendering_dispose(cs_chat_rendering *rendering)
{
    if (rendering != nullptr) {
        std::free(rendering->text);
        std::free(rendering->parts);
        *rendering = {};
    }
}

bool cs_chat_rendering_append(cs_chat_rendering *rendering, const char *text, size_t n_bytes, bool is_input)
{
    char *grown = (char *)std::realloc(rendering->text, rendering->n_bytes + n_bytes + 1);
    rendering->text = grown != nullptr ? grown : rendering->text;
    auto *parts = (cs_chat_part *)std::realloc(rendering->parts, (rendering->n_parts + 1) * sizeof *rendering->parts);
    rendering->parts = parts != nullptr ? parts : rendering->parts;
    if (grown == nullptr || parts == nullptr) {
        return false;
    }
    std::memcpy(grown + rendering->n_bytes, text, n_bytes);
    rendering->n_bytes += n_bytes;
    grown[rendering->n_bytes] = '\0';
    parts[rendering->n_parts++] = {n_bytes, is_input};
    return true;
}

costeer_err cs_chat_template_render(const cs_chat_template *self, const costeer_message *messages, size_t n, bool thinking,
                                    cs_chat_rendering *out, costeer_error *err)
{
    cs_chat_rendering_dispose(out);
    cs_buffer rendered = {};
    costeer_err code;
    try {
        code = run_child(render_in_child, write_request(*self, messages, n, thinking), self->name, &rendered, err);
    } catch (const std::bad_alloc &) {
        code = no_memory(err);
    }
    for (size_t at = 1; code == COSTEER_OK && at + sizeof(cs_chat_part) <= rendered.n_bytes;) {
        cs_chat_part part;
        std::memcpy(&part, rendered.bytes + at, sizeof part);
        at += sizeof part;
        part.n_bytes = std::min(part.n_bytes, rendered.n_bytes - at);
        code = cs_chat_rendering_append(out, rendered.bytes + at, part.n_bytes, part.is_input) ? COSTEER_OK : no_memory(err);
        at += part.n_bytes;
    }
    cs_buffer_dispose(&rendered);
    return code;
}
