/*
 * Templates that have a name: what models without one were mostly trained with. For any other there is the template's text.
 * The texts are ours; a test compares what they render with llama.cpp's built-in functions of the same names.
 */
#include <costeer/prompt.h>

#include <string.h>

#define FOR_MESSAGES "{% for message in messages %}"
#define END_FOR      "{% endfor %}"

static const struct {
    const char *name;
    const char *source;
} named[] = {
    {"chatml", FOR_MESSAGES "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}" END_FOR
                            "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"},
    {"gemma",
     "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}" FOR_MESSAGES
     "{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else 'user') + '\n' + (message['content'] | trim) + "
     "'<end_of_turn>\n' }}" END_FOR "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"},
    {"llama3", "{{ bos_token }}" FOR_MESSAGES "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + "
               "(message['content'] | trim) + '<|eot_id|>' }}" END_FOR
               "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"},
    {"phi3", FOR_MESSAGES "{{ '<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n' }}" END_FOR
                          "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"},
    {"zephyr", FOR_MESSAGES "{{ '<|' + message['role'] + '|>\n' + message['content'] + eos_token + '\n' }}" END_FOR
                            "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"},
    {"mistral",
     "{{ bos_token }}" FOR_MESSAGES "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
     "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] + eos_token }}"
     "{% else %}{{ raise_exception('no system role') }}{% endif %}" END_FOR},
    {"llama2",
     "{{ bos_token }}{% set offset = 0 %}{% if messages[0]['role'] == 'system' %}{% set offset = 1 %}{% endif %}" FOR_MESSAGES
     "{% if message['role'] == 'user' %}{% if loop.index0 > offset %}{{ bos_token }}{% endif %}"
     "{{ '[INST] ' }}{% if offset == 1 and loop.index0 == 1 %}"
     "{{ '<<SYS>>\n' + messages[0]['content'] + '\n<</SYS>>\n\n' }}{% endif %}{{ message['content'] + ' [/INST]' }}"
     "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] + ' ' + eos_token }}{% endif %}" END_FOR},
};

const char *costeer_chat_template_find(const char *name)
{
    for (size_t i = 0; i < sizeof named / sizeof named[0]; i++) {
        if (strcmp(named[i].name, name) == 0) {
            return named[i].source;
        }
    }
    return NULL;
}

const char *costeer_chat_template_names(void)
{
    return "chatml, gemma, llama2, llama3, mistral, phi3, zephyr";
}
