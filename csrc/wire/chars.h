/* chars.h -- which characters may stand where in HTTP. Private to csrc/wire.
 *
 * One byte per character, one bit per set; everything outside visible ASCII is in none. */
#ifndef GDP_WIRE_CHARS_H
#define GDP_WIRE_CHARS_H

#include "gdp/base.h"

enum {
    GDP_CHAR_TOKEN = 1, /* RFC 9110 5.6.2 */
    GDP_CHAR_HOST = 2,  /* reg-name, IP literal in brackets, port: no '@', '/', ',' */
    GDP_CHAR_TARGET = 4 /* all of visible ASCII but '#' */
};

static const uint8_t gdp_char_sets[256] = {
    [0x20] = 0, 7, 4, 1, 7, 7, 7, 7, 6, 6, 7, 7, 4, 7, 7, 4, /*   ! " # $ % & ' ( ) * + , - . /  */
    [0x30] = 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 6, 6, 4, 6, 4, 4, /* 0 1 2 3 4 5 6 7 8 9 : ; < = > ?  */
    [0x40] = 4, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, /* @ A B C D E F G H I J K L M N O  */
    [0x50] = 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 6, 4, 6, 5, 7, /* P Q R S T U V W X Y Z [ \ ] ^ _  */
    [0x60] = 5, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, /* ` a b c d e f g h i j k l m n o  */
    [0x70] = 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 4, 5, 4, 7, 0, /* p q r s t u v w x y z { | } ~    */
};

static inline bool gdp_char_in(char c, uint8_t set)
{
    return gdp_char_sets[(unsigned char)c] & set;
}

#endif
