/* A Modbus server on libmodbus, for tests: register n of both tables holds 3 n + 7, coil n is set where n % 3 == 0.
 * modbus_serve tcp PORT UNIT | modbus_serve rtu PATH BAUD UNIT
 * Prints "ready PORT" (0 lets the system choose), then serves one client after the other until it is killed. */
#include <arpa/inet.h>
#include <errno.h>
#include <modbus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SIZE = 400 };

static void serve(modbus_t *bus, modbus_mapping_t *map) {
  uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
  for (;;) {
    int length = modbus_receive(bus, query);
    if (length > 0)
      modbus_reply(bus, query, length, map);
    else if (length < 0 && errno != EMBBADCRC)
      return;
  }
}

int main(int count, char **words) {
  if (count < 4)
    return 2;
  modbus_mapping_t *map = modbus_mapping_new(SIZE, SIZE, SIZE, SIZE);
  for (int n = 0; n < SIZE; n++) {
    map->tab_registers[n] = map->tab_input_registers[n] = (uint16_t)(3 * n + 7);
    map->tab_bits[n] = map->tab_input_bits[n] = n % 3 == 0;
  }
  if (strcmp(words[1], "rtu") == 0) {
    modbus_t *line = modbus_new_rtu(words[2], atoi(words[3]), 'N', 8, 2);
    modbus_set_slave(line, atoi(words[4]));
    if (modbus_connect(line) < 0)
      return 4;
    printf("ready 0\n");
    fflush(stdout);
    for (;;)
      serve(line, map);
  }
  modbus_t *bus = modbus_new_tcp("127.0.0.1", atoi(words[2]));
  modbus_set_slave(bus, atoi(words[3]));
  int listening = modbus_tcp_listen(bus, 4);
  if (listening < 0)
    return 4;
  struct sockaddr_in here;
  socklen_t size = sizeof here;
  getsockname(listening, (struct sockaddr *)&here, &size);
  printf("ready %d\n", ntohs(here.sin_port));
  fflush(stdout);
  for (;;) {
    if (modbus_tcp_accept(bus, &listening) < 0)
      return 4;
    serve(bus, map);
    modbus_close(bus);
  }
}
