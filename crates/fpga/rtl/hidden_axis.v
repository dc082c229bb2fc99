// Rows through the hidden transform and back in their order: D / 8 beats of eight complex numbers in, the first `beats` eights
// of the spectrum out. Rows follow one another without a gap where they come so; what is under way when no more rows are to
// come is pushed out.
module hidden_axis #(
    parameter W = 27,
    parameter TAG = 1
) (
    input clk,
    input rst,
    input in_valid,
    output in_ready,
    input in_more,  // where there is no beat: one will come without further rows having to come out before it
    input [16*W-1:0] in_data,
    input [1:0] in_shape,  // these three at a row's first beat
    input [8:0] in_beats,
    input [TAG-1:0] in_tag,
    output out_valid,
    input out_ready,
    output out_last,  // of the row
    output [16*W-1:0] out_data,
    output [TAG-1:0] out_tag
);
    reg [8:0] count;  // beats of the frame, all of which are either of a row or zeros
    reg live;
    reg [2:0] under_way;  // rows of which not all has reached the row buffer
    reg [1:0] held_shape;
    wire idle = under_way == 0;
    wire starts = count == 0;
    wire [1:0] shape = starts & idle ? in_shape : held_shape;
    wire [8:0] length = shape == 0 ? 9'd24 : shape == 1 ? 9'd192 : shape == 2 ? 9'd256 : 9'd384;

    wire fft_valid, buffer_ready;
    wire stall = fft_valid & !buffer_ready;
    wire can_start = in_valid & (idle | in_shape == held_shape);
    wire pushes = !idle & !can_start & (in_valid | !in_more);
    wire en = !stall & (starts ? can_start | pushes : live ? in_valid : !idle);
    assign in_ready = !stall & (starts ? can_start : live);
    wire first = starts & can_start;

    wire [8:0] frequency;
    wire [16*W-1:0] spectrum;
    hidden_fft #(.W(W)) fft (
        .clk(clk), .rst(rst), .en(en), .shape(shape), .first(first), .x(in_ready & in_valid ? in_data : {16 * W{1'b0}}),
        .valid(fft_valid), .frequency(frequency), .y(spectrum)
    );

    wire taken;
    wire [1:0] out_shape;
    wire [8:0] out_beats;
    wire [TAG-1:0] tag;
    wire write = en & fft_valid;
    reg [8:0] stored;
    wire row_stored = write & stored == length - 1'b1;
    wire move = !out_valid | out_ready;
    row_buffer #(.W(2 * W)) buffer (
        .clk(clk), .rst(rst), .write(write), .ready(buffer_ready), .in_shape(held_shape), .frequency(frequency), .x(spectrum),
        .shape(out_shape), .beats(out_beats), .taken(taken), .valid(out_valid), .last(out_last), .y(out_data), .en(move)
    );
    fifo #(.WIDTH(TAG + 11), .LOG(4)) rows (
        .clk(clk), .rst(rst), .in_valid(en & first), .in_ready(), .in_data({in_tag, in_shape, in_beats}), .out_valid(),
        .out_ready(taken), .out_data({tag, out_shape, out_beats}), .fill()
    );
    reg [TAG-1:0] tag1, tag2;
    assign out_tag = tag2;

    always @(posedge clk) begin
        if (en) begin
            count <= count == length - 1'b1 ? 9'd0 : count + 1'b1;
            if (starts) live <= can_start;
            if (first) held_shape <= in_shape;
        end else if (!starts & !live & idle) count <= 0;
        if (write) stored <= row_stored ? 9'd0 : stored + 1'b1;
        under_way <= under_way + (en & first) - row_stored;
        if (move) {tag2, tag1} <= {tag1, tag};
        if (rst) {count, live, under_way, stored, held_shape} <= 0;
    end
endmodule
